//! The processor time of processes.

use std::time::Duration;

use crate::support::{Result, usage::cpu};

/// The processor time of several processes from a moment on.
pub struct Cpu {
    pids: Vec<u32>,
    before: Duration,
}

impl Cpu {
    pub fn of(pids: &[u32]) -> Self {
        let mut cpu = Self { pids: pids.to_vec(), before: Duration::ZERO };
        cpu.before = cpu.total().unwrap_or_default();
        cpu
    }

    pub fn spent(&self) -> Result<Duration> {
        Ok(self.total()?.saturating_sub(self.before))
    }

    fn total(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| cpu(*pid)).sum()
    }
}
