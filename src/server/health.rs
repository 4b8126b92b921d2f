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
    needed: Vec<(&'static str, IsReady)>,
    stopping: bool,
}

type IsReady = Box<dyn Fn() -> bool + Send + Sync>;

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

    /// Not ready before `ready`, which tells whether this is there: a filled cache, by the name of its resource, for example.
    pub fn expect(&self, what: &'static str, ready: impl Fn() -> bool + Send + Sync + 'static) {
        self.asked().needed.push((what, Box::new(ready)));
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
        let missing = asked.needed.iter().filter(|(_, ready)| !ready());
        stopping.into_iter().chain(missing.map(|(what, _)| format!("{what}: not there yet"))).collect()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        controller::{
            error::ReconcileError,
            run_loop::{self, Limits, Next, Reconciler},
        },
        kube_ext::key::ObjectKey,
        metrics::Metrics,
    };

    const LIMIT: Duration = Duration::from_mins(3);

    struct Hanging;

    impl Reconciler for Hanging {
        const KIND: &'static str = "Hanging";

        async fn reconcile(&self, _key: &ObjectKey) -> Result<Next, ReconcileError> {
            std::future::pending().await
        }

        fn generation(&self, _key: &ObjectKey) -> Option<i64> {
            None
        }
    }

    /// The health of a process with a controller that does nothing, with a timeout of reconciles of this length.
    fn hanging(timeout: Duration) -> (Health, Trigger) {
        let limits = Limits { concurrency: 1, timeout };
        let (health, trigger) = (Health::new(LIMIT), Trigger::new(&limits));
        health.watch(Hanging::KIND, trigger.clone());
        let (metrics, never) = (Arc::new(Metrics::new()), CancellationToken::new());
        tokio::spawn(run_loop::run(Arc::new(Hanging), trigger.clone(), limits, metrics, never));
        (health, trigger)
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_has_work_and_ends_none_is_stalled() {
        let (health, trigger) = hanging(Duration::from_hours(1));
        for name in ["a", "b"] {
            trigger.now(ObjectKey::new("ns", name));
        }
        time::sleep(LIMIT / 2).await;
        assert_eq!(health.stalled(), [""; 0]);
        time::sleep(LIMIT / 2).await;
        assert_eq!(health.stalled(), ["controller Hanging: 1 objects are waiting, no reconcile ended for 180 s"]);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_idleness_nor_reconciles_that_time_out_are_a_stall() {
        let (health, trigger) = hanging(Duration::from_mins(1));
        time::sleep(LIMIT * 10).await;
        for name in 0..20 {
            trigger.now(ObjectKey::new("ns", name.to_string()));
        }
        assert_eq!(health.stalled(), [""; 0]);
        time::sleep(LIMIT * 2).await;
        assert_eq!(health.stalled(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_waits_for_its_caches_is_not_stalled() {
        let (health, trigger) = (Health::new(LIMIT), Trigger::new(&Limits::default()));
        health.watch("Promotion", trigger.clone());
        trigger.now(ObjectKey::new("ns", "a"));
        time::sleep(LIMIT * 2).await;
        assert_eq!(health.stalled(), [""; 0]);
    }

    #[test]
    fn readiness_names_what_is_missing_and_ends_with_the_stop() {
        let health = Health::new(LIMIT);
        health.expect("promotions", || true);
        health.expect("namespaces", || false);
        assert_eq!(health.not_ready(), ["namespaces: not there yet"]);
        health.stop();
        assert_eq!(health.not_ready().len(), 2);
    }
}
