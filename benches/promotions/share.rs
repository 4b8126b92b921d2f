//! Who takes the processors.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::support::{
    Result,
    usage::{TICK, cpu},
};

/// Who takes the processors from a moment on: these processes, and all others of the machine but our own.
pub struct Share {
    pids: Vec<u32>,
    before: Vec<Duration>,
    own: Duration,
    machine: Duration,
    clock: Instant,
}

impl Share {
    pub fn of(pids: &[u32]) -> Result<Self> {
        let before = pids.iter().map(|pid| cpu(*pid)).collect::<Result<_>>()?;
        let own = cpu(std::process::id())?;
        Ok(Self { pids: pids.to_vec(), before, own, machine: machine()?, clock: Instant::now() })
    }

    /// What each of the processes took, and which part of the processors' whole time the others did.
    pub fn spent(&self) -> Result<(Vec<Duration>, f64)> {
        let now = self.pids.iter().map(|pid| cpu(*pid)).collect::<Result<Vec<_>>>()?;
        let each: Vec<_> = now.iter().zip(&self.before).map(|(now, before)| now.saturating_sub(*before)).collect();
        let ours = each.iter().sum::<Duration>() + cpu(std::process::id())?.saturating_sub(self.own);
        let others = machine()?.saturating_sub(self.machine).saturating_sub(ours);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let whole = self.clock.elapsed() * u32::try_from(processors).unwrap_or(1);
        Ok((each, others.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON)))
    }
}

/// The time that all processors were busy, what other guests of the host took included.
fn machine() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("/proc/stat is empty")?;
    let fields: Vec<u32> = line.split_whitespace().skip(1).map(str::parse).collect::<std::result::Result<_, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|field| fields.get(*field)).sum();
    Ok(TICK * busy)
}
