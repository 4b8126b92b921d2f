//! The handle through which caches, timers and reconciles ask for a reconcile.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

use super::{Limits, now};
use crate::kube_ext::{key::ObjectKey, queue::WorkQueue};

/// No timer is longer. A reconcile too many a day costs nothing, and keeps a deadline in a far year from overflowing.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Puts objects of one kind into its controller's queue. Cloning gives another handle to the same queue.
///
/// Works before the controller runs: what is put in waits for it.
#[derive(Clone)]
pub struct Trigger {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the run loop after a change to the queue.
    changed: Notify,
}

struct Queue {
    keys: WorkQueue<ObjectKey>,
    /// When a reconcile last ended, or the run loop began.
    last_progress: Option<Instant>,
}

/// A queue at one moment, for metrics and health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Objects that wait for a free slot.
    pub ready: usize,
    /// Objects that wait for a time: a retry or a deadline.
    pub waiting: usize,
    /// Reconciles that run.
    pub in_flight: usize,
    /// For how long the object that is ready for longest has been.
    pub oldest_ready: Option<Duration>,
    /// How long ago a reconcile last ended, or the run loop began; `None` before that.
    pub since_progress: Option<Duration>,
}

impl Trigger {
    /// The handle to a new, empty queue for a run loop with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let keys = WorkQueue::new(|key: &ObjectKey| &key.namespace, limits.most_of_a_kind());
        let queue = Mutex::new(Queue { keys, last_progress: None });
        Self { shared: Arc::new(Shared { queue, changed: Notify::new() }) }
    }

    /// Asks for a reconcile as soon as there is a free slot; if one of this object runs, for another one after it.
    pub fn now(&self, key: ObjectKey) {
        self.queue().keys.add(key, now());
        self.shared.changed.notify_one();
    }

    /// Asks for a reconcile after `delay`, or earlier if one is already asked for earlier.
    pub fn after(&self, key: ObjectKey, delay: Duration) {
        self.queue().keys.add_at(key, deadline(delay));
        self.shared.changed.notify_one();
    }

    /// The queue as it is now.
    #[must_use]
    pub fn state(&self) -> QueueState {
        let (queue, now) = (self.queue(), now());
        QueueState {
            ready: queue.keys.len(),
            waiting: queue.keys.waiting(),
            in_flight: queue.keys.in_flight(),
            oldest_ready: queue.keys.oldest_ready(now),
            since_progress: queue.last_progress.map(|last| now.saturating_duration_since(last)),
        }
    }

    /// The run loop is here.
    pub(super) fn begin(&self) {
        self.queue().last_progress = Some(now());
    }

    pub(in crate::controller) fn pop(&self) -> Option<ObjectKey> {
        self.queue().keys.pop(now())
    }

    /// Takes back what [`pop`](Self::pop) handed out, to be handed out again after `again`.
    pub(super) fn done(&self, key: &ObjectKey, again: Option<Duration>) {
        let mut queue = self.queue();
        if let Some(delay) = again {
            queue.keys.add_at(key.clone(), deadline(delay));
        }
        queue.keys.done(key, now());
        queue.last_progress = Some(now());
    }

    /// Returns when the queue may have something to hand out that it had not before.
    pub(super) async fn wake(&self) {
        let deadline = self.queue().keys.next_deadline();
        let due = async {
            match deadline {
                Some(deadline) => time::sleep_until(deadline.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.shared.changed.notified() => {}
            () = due => {}
        }
    }

    // Poisoning would need a panic within the queue's own code; its state would still be the better guess than none.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

fn deadline(delay: Duration) -> Instant {
    now() + delay.min(LONGEST_WAIT)
}
