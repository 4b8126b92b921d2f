//! What processes use, as `/proc` says.

use std::{fs, time::Duration};

use super::Result;

/// The kernel's unit of processor time for user space, on every Linux platform that we know.
pub const TICK: Duration = Duration::from_millis(10);

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub now: u64,
    pub peak: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("the process has ended")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
        };
        Ok(Self { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}

/// The processor time that a process has taken, in user and system mode.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name, in parentheses, may hold anything; utime and stime are the 12th and 13th field after it.
    let fields = stat.rsplit_once(") ").ok_or("the process has no name")?.1;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<std::result::Result<u32, _>>()?;
    Ok(TICK * ticks)
}
