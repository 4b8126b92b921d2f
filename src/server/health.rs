//! Whether the process works (or should be restarted) and whether it knows the cluster (or should wait).

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::controller::run_loop::Trigger;

/// What `/healthz` and `/readyz` ask. Filled while the process starts.
pub struct Health {
    stalled_after: Duration,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    loops: Vec<(&'static str, Trigger)>,
    caches: Vec<(&'static str, Box<dyn Fn() -> bool + Send + Sync>)>,
    stopping: bool,
}

impl Health {
    /// A controller that has work and ended no reconcile for `stalled_after` is stalled. Must be longer than the
    /// timeout of a reconcile.
    #[must_use]
    pub fn new(stalled_after: Duration) -> Self {
        Self { stalled_after, asked: Mutex::default() }
    }

    /// Watches over a controller's run loop.
    pub fn watch(&self, kind: &'static str, trigger: Trigger) {
        self.asked().loops.push((kind, trigger));
    }

    /// Not ready before `ready`, which tells whether the cache of this resource is filled.
    pub fn expect(&self, resource: &'static str, ready: impl Fn() -> bool + Send + Sync + 'static) {
        self.asked().caches.push((resource, Box::new(ready)));
    }

    /// Not ready any more: the process ends.
    pub fn stop(&self) {
        self.asked().stopping = true;
    }

    /// One line for each controller that is stalled. Faults outside (an API server that does not answer, a failing
    /// object) do not stall one, because every reconcile ends in time; a restart would not mend them either.
    #[must_use]
    pub fn stalled(&self) -> Vec<String> {
        let stalled = |(kind, trigger): &(&str, Trigger)| {
            let state = trigger.state();
            let (oldest, progress) = (state.oldest_ready?, state.since_progress?);
            let seconds = progress.as_secs();
            (oldest.min(progress) >= self.stalled_after).then(|| {
                format!("controller {kind}: {} objects are waiting, no reconcile ended for {seconds} s", state.ready)
            })
        };
        self.asked().loops.iter().filter_map(stalled).collect()
    }

    /// One line for each thing that is not there yet.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let asked = self.asked();
        let stopping = asked.stopping.then(|| "the process is stopping".to_string());
        let missing = asked.caches.iter().filter(|(_, ready)| !ready());
        stopping.into_iter().chain(missing.map(|(resource, _)| format!("cache {resource}: not listed yet"))).collect()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("not_ready", &self.not_ready()).field("stalled", &self.stalled()).finish()
    }
}
