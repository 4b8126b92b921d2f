//! What was measured, as a table for people and as JSON for programs.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::{
    support::{
        Result,
        audit::Tally,
        report::{self, float, mebibytes, milliseconds},
        usage::Memory,
    },
    twin::Twin,
};

/// Everything about one number of environments, on one control plane.
pub struct Run {
    pub environments: usize,
    /// From the start of the operator's process to the answer to its last write.
    pub wall: Duration,
    pub operator_cpu: Duration,
    pub servers_cpu: Duration,
    pub seen: Tally,
    pub peak_memory: u64,
    pub rest: Rest,
    pub restart: Restart,
    /// Latencies of single changes, shortest first.
    pub changes: Vec<Duration>,
    pub twins: Vec<Twin>,
}

/// A while in which nothing was to be done.
pub struct Rest {
    pub duration: Duration,
    pub writes: usize,
    pub memory: u64,
}

/// A start with all environments as they should be.
pub struct Restart {
    /// Until `/readyz` says yes.
    pub synced: Duration,
    pub writes: usize,
    pub reads: usize,
    pub memory: Memory,
}

impl Run {
    fn best_twin(&self) -> Option<&Twin> {
        self.twins.iter().min_by_key(|twin| twin.wall)
    }

    /// Operator wall / raw wall.
    fn ratio(&self) -> f64 {
        self.best_twin().map_or(f64::NAN, |twin| self.wall.as_secs_f64() / twin.wall.as_secs_f64())
    }

    /// As the ratio, but of processor time, operator and servers together: what R is when processors are the limit.
    /// Other work on the machine disturbs it far less.
    fn processor_ratio(&self) -> f64 {
        let operator = self.operator_cpu + self.servers_cpu;
        self.best_twin().map_or(f64::NAN, |twin| operator.as_secs_f64() / (twin.cpu + twin.servers_cpu).as_secs_f64())
    }

    fn each(&self, count: usize) -> f64 {
        float(count) / float(self.environments)
    }

    fn rows(&self) -> Vec<(&'static str, String, &'static str)> {
        let Some(twin) = self.best_twin() else { return vec![] };
        let rate = |wall: Duration| float(self.environments) / wall.as_secs_f64();
        let walls: Vec<_> = self
            .twins
            .iter()
            .map(|twin| format!("{} in flight {:.2} s", twin.in_flight, twin.wall.as_secs_f64()))
            .collect();
        let cpu = |cpu: Duration| format!("{:.2} ms", cpu.as_secs_f64() * 1000.0 / float(self.environments));
        vec![
            ("operator, from its start to its last write", seconds_and_rate(self.wall, rate(self.wall)), ""),
            ("raw client", seconds_and_rate(twin.wall, rate(twin.wall)), ""),
            ("raw client, tried", walls.join(", "), ""),
            ("R = operator / raw", format!("{:.2}", self.ratio()), "≤ 1.25 at 1,000"),
            ("the same of processor time, servers included", format!("{:.2}", self.processor_ratio()), ""),
            (
                "writes per environment",
                format!("{:.3} (minimum {})", self.each(self.seen.writes), twin.writes),
                "≤ 1.05 × minimum",
            ),
            ("reads per environment", format!("{:.3} ({} in all)", self.each(self.seen.reads), self.seen.reads), "0"),
            ("processor time per environment, operator", cpu(self.operator_cpu), ""),
            ("processor time per environment, raw client", cpu(twin.cpu), ""),
            ("processor time per environment, servers with operator", cpu(self.servers_cpu), ""),
            ("processor time per environment, servers with raw client", cpu(twin.servers_cpu), ""),
            ("memory, peak", mebibytes(self.peak_memory), "≤ 32 MiB at 1,000"),
            ("memory, at rest", mebibytes(self.rest.memory), "≤ 32 MiB at 1,000"),
            ("writes at rest", format!("{} in {} s", self.rest.writes, self.rest.duration.as_secs()), "0"),
            ("restart, until synced", format!("{:.0} ms", self.restart.synced.as_secs_f64() * 1000.0), ""),
            ("restart, writes / reads", format!("{} / {}", self.restart.writes, self.restart.reads), "0"),
            (
                "restart, memory peak / at rest",
                format!("{} / {}", mebibytes(self.restart.memory.peak), mebibytes(self.restart.memory.now)),
                "",
            ),
            (
                "one changed variable, p50 / p99",
                format!("{} / {}", milliseconds(self.percentile(50)), milliseconds(self.percentile(99))),
                "no slower at 1,000 than at 100",
            ),
        ]
    }

    fn percentile(&self, percent: usize) -> Duration {
        report::percentile(&self.changes, percent)
    }

    fn json(&self) -> Value {
        let twins: Vec<_> = self
            .twins
            .iter()
            .map(|twin| {
                json!({
                    "inFlight": twin.in_flight, "wallSeconds": twin.wall.as_secs_f64(),
                    "cpuSeconds": twin.cpu.as_secs_f64(), "serversCpuSeconds": twin.servers_cpu.as_secs_f64(),
                })
            })
            .collect();
        json!({
            "environments": self.environments,
            "ratio": self.ratio(),
            "processorRatio": self.processor_ratio(),
            "operator": {
                "wallSeconds": self.wall.as_secs_f64(),
                "cpuSeconds": self.operator_cpu.as_secs_f64(),
                "serversCpuSeconds": self.servers_cpu.as_secs_f64(),
                "requests": self.seen.by_name,
                "writes": self.seen.writes, "reads": self.seen.reads,
                "peakBytes": self.peak_memory,
            },
            "minimumWritesPerEnvironment": self.best_twin().map(|twin| twin.writes),
            "raw": twins,
            "rest": {"seconds": self.rest.duration.as_secs(), "writes": self.rest.writes, "bytes": self.rest.memory},
            "restart": {
                "syncedSeconds": self.restart.synced.as_secs_f64(),
                "writes": self.restart.writes, "reads": self.restart.reads,
                "peakBytes": self.restart.memory.peak, "bytes": self.restart.memory.now,
            },
            "changeSeconds": {
                "p50": self.percentile(50).as_secs_f64(),
                "p99": self.percentile(99).as_secs_f64(),
                "all": self.changes.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
            },
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} environments", self.environments)?;
        for (what, measured, target) in self.rows() {
            writeln!(f, "  {what:<57} {measured:<48} {target}")?;
        }
        writeln!(f, "  the operator's requests: {:?}", self.seen.by_name)
    }
}

/// Writes the JSON, and for several runs of the same number prints the spread.
pub fn finish(runs: &[Run]) -> Result<()> {
    let mut sizes: Vec<_> = runs.iter().map(|run| run.environments).collect();
    sizes.dedup();
    for size in sizes {
        let mut ratios: Vec<_> = runs.iter().filter(|run| run.environments == size).map(Run::ratio).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        println!("\nR at {size} environments, all runs in order of size: {ratios:.2?}");
    }
    report::write("environments", &runs.iter().map(Run::json).collect::<Vec<_>>())
}

fn seconds_and_rate(wall: Duration, rate: f64) -> String {
    format!("{:.2} s ({rate:.1} a second)", wall.as_secs_f64())
}
