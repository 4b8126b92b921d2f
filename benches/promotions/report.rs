//! What was measured, as a table for people and as JSON for programs.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::{
    course::Course,
    support::{
        audit::Tally,
        report::{float, mebibytes, milliseconds, percentile},
        usage::Memory,
    },
};

/// What must be written for each promotion that changes no configuration: the plan, shown in the promotion's status;
/// the revision; the pointer to the release; the environment's status; the event; the promotion's status when it is
/// `ReadyForDeploy`.
const MINIMUM: usize = 6;

/// The writes that are told apart. A version's status says where the version is, and with each promotion two versions
/// change places: so two of these for each promotion, less what is told together. The operator tells of all that changed
/// for a version two seconds after the first change.
const VERSION_STATUS: &str = "patch platformversions/status";

/// Everything that was measured, on one control plane.
pub struct Run {
    pub environments: usize,
    pub revisions: usize,
    pub projects: usize,
    pub in_flight: usize,
    pub one_by_one: Measured,
    pub at_once: Measured,
    pub raw_one_by_one: Course,
    pub raw_at_once: Course,
    pub memory_at_rest: u64,
    pub memory: Memory,
}

/// Promotions by the operator.
pub struct Measured {
    pub course: Course,
    /// Until the operator came to rest.
    pub requests: Tally,
}

impl Measured {
    fn promotions(&self) -> usize {
        self.course.latencies.len()
    }

    fn version_writes(&self) -> usize {
        self.requests.count(VERSION_STATUS)
    }

    /// Without those of versions' statuses.
    fn writes_each(&self) -> f64 {
        float(self.requests.writes - self.version_writes()) / float(self.promotions())
    }

    fn all_writes_each(&self) -> f64 {
        float(self.requests.writes) / float(self.promotions())
    }

    fn reads_each(&self) -> f64 {
        float(self.requests.reads) / float(self.promotions())
    }

    fn json(&self) -> Value {
        let mut json = course_json(&self.course);
        json["requests"] = json!(self.requests.by_name);
        json["writes"] = json!(self.requests.writes);
        json["reads"] = json!(self.requests.reads);
        json["writesEach"] = json!(self.writes_each());
        json["minimumWritesEach"] = json!(MINIMUM);
        json["versionStatusWrites"] = json!(self.version_writes());
        json
    }
}

impl Run {
    fn rows(&self) -> Vec<(String, String, &'static str)> {
        let mut rows = part("one at a time", &self.one_by_one, &self.raw_one_by_one, "p50 ≤ 100 ms, p99 ≤ 500 ms");
        rows.extend(part("at once", &self.at_once, &self.raw_at_once, ""));
        let memory = [self.memory_at_rest, self.memory.now, self.memory.peak].map(mebibytes).join(" / ");
        rows.push(("operator's memory before / after / peak".to_owned(), memory, ""));
        rows
    }

    pub fn json(&self) -> Value {
        json!({
            "environments": self.environments, "revisions": self.revisions, "projects": self.projects,
            "oneByOne": self.one_by_one.json(), "atOnce": self.at_once.json(),
            "rawOneByOne": course_json(&self.raw_one_by_one),
            "rawAtOnce": course_json(&self.raw_at_once), "rawInFlight": self.in_flight,
            "memory": {"restBytes": self.memory_at_rest, "bytes": self.memory.now, "peakBytes": self.memory.peak},
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { environments, revisions, projects, .. } = self;
        writeln!(f, "\n{environments} environments, {revisions} revisions, {projects} projects")?;
        for (what, measured, target) in self.rows() {
            writeln!(f, "  {what:<78} {measured:<34} {target}")?;
        }
        writeln!(f, "  the operator's requests, one at a time: {:?}", self.one_by_one.requests.by_name)?;
        writeln!(f, "  the operator's requests, at once: {:?}", self.at_once.requests.by_name)
    }
}

/// The rows of one way of making promotions.
fn part(what: &str, ours: &Measured, raw: &Course, target: &'static str) -> Vec<(String, String, &'static str)> {
    let row = |name: &str, value: String, target| (format!("{what}, {name}"), value, target);
    let ratio = |percent| {
        percentile(&ours.course.latencies, percent).as_secs_f64() / percentile(&raw.latencies, percent).as_secs_f64()
    };
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    let [others, others_raw] = [ours.course.others, raw.others].map(percent);
    let seconds = |wall: Duration| format!("{:.2} s", wall.as_secs_f64());
    let cpu = |course: &Course, which: &[Duration]| {
        milliseconds(which.iter().sum::<Duration>().div_f64(float(course.latencies.len())))
    };
    // The operator is the last of the processes.
    let (servers, operator) = ours.course.cpu.split_at(ours.course.cpu.len().saturating_sub(1));
    let [operator, servers] = [operator, servers].map(|which| cpu(&ours.course, which));
    let servers_raw = cpu(raw, &raw.cpu);
    vec![
        row("p50 / p99 / max", latencies(&ours.course), target),
        row("raw client, p50 / p99 / max", latencies(raw), ""),
        row("operator / raw client, p50 / p99", format!("{:.2} / {:.2}", ratio(50), ratio(99)), ""),
        row(
            "from the first request to the last sight, operator / raw client",
            format!("{} / {}", seconds(ours.course.wall), seconds(raw.wall)),
            "",
        ),
        row(
            "writes per promotion without versions' statuses (minimum 6)",
            format!("{:.3} ({:.3} × minimum)", ours.writes_each(), ours.writes_each() / float(MINIMUM)),
            "≤ 1.1 × minimum",
        ),
        row(
            "writes of versions' statuses (two per promotion, less what is told together)",
            ours.version_writes().to_string(),
            "",
        ),
        row("all writes per promotion", format!("{:.3}", ours.all_writes_each()), ""),
        row("reads per promotion", format!("{:.2}", ours.reads_each()), ""),
        row("processor time per promotion, operator", operator, ""),
        row(
            "processor time per promotion, servers with operator / raw client",
            format!("{servers} / {servers_raw}"),
            "",
        ),
        row("share of the machine that others took, operator / raw client", format!("{others} / {others_raw}"), ""),
    ]
}

fn latencies(course: &Course) -> String {
    [50, 99, 100].map(|percent| milliseconds(percentile(&course.latencies, percent))).join(" / ")
}

fn course_json(course: &Course) -> Value {
    let percentile = |percent| percentile(&course.latencies, percent).as_secs_f64();
    json!({
        "promotions": course.latencies.len(),
        "seconds": {
            "p50": percentile(50), "p99": percentile(99), "max": percentile(100),
            "all": course.latencies.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
        },
        "wallSeconds": course.wall.as_secs_f64(),
        "cpuSeconds": course.cpu.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
        "othersShare": course.others,
    })
}
