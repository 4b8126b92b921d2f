//! The loop that every controller shares.
//!
//! A [`Reconciler`] says what to do for one object. Caches and timers put keys in through a [`Trigger`]; [`run`] takes
//! them out, fairly, and sees to everything that is the same for each kind:
//!
//! - a bound on how many reconciles run at a time, never two of one object;
//! - a timeout around each, and a panic in one harms only its object;
//! - a retry of what failed, later each time, at once when the object's generation is new;
//! - a span, a count and a duration for each;
//! - a stop in which nothing new starts and what runs may end.

use std::{
    any::Any,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::{task::JoinSet, time};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info_span, warn};

use super::error::ReconcileError;
use crate::{
    kube_ext::{
        backoff::{Backoff, Schedule},
        key::ObjectKey,
    },
    metrics::{Metrics, Outcome},
};

#[cfg(test)]
mod tests;
mod trigger;

pub use trigger::{QueueState, Trigger};

/// What a reconcile asks for when it ends well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more until something changes.
    AwaitChange,
    /// Again after this time at the latest. Longer than a day becomes a day.
    After(Duration),
    /// The object is held by something whose end nobody will tell us of: try again, later each time, and after this
    /// time at the latest.
    Retry(Option<Duration>),
}

impl Next {
    /// Nothing more until something changes, or until that moment, if there is one.
    #[must_use]
    pub fn wake(at: Option<Timestamp>, now: Timestamp) -> Self {
        at.map_or(Self::AwaitChange, |at| Self::After(until(at, now)))
    }

    /// As [`Next::Retry`], at that moment at the latest.
    #[must_use]
    pub fn retry(at: Option<Timestamp>, now: Timestamp) -> Self {
        Self::Retry(at.map(|at| until(at, now)))
    }
}

/// No time at all if the moment has passed.
fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Brings one object at a time to where it should be.
pub trait Reconciler: Send + Sync + 'static {
    /// For metrics and spans, for example `PlatformEnvironment`.
    const KIND: &'static str;

    /// Looks at the object as it is now and does what is to be done. Not cancelled but by the timeout, after which it
    /// is run again: every step must be safe to repeat.
    fn reconcile(&self, key: &ObjectKey) -> impl Future<Output = Result<Next, ReconcileError>> + Send;

    /// The generation of the object as cached; `None` when it is not there. A new one makes a failing object's retries
    /// start anew.
    fn generation(&self, key: &ObjectKey) -> Option<i64>;
}

/// The longest wait of an object that is held: whoever removed what held it looks at the result.
const HELD: Duration = Duration::from_secs(15);

/// The bounds of a run loop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many reconciles may run at a time.
    pub concurrency: usize,
    /// After which a reconcile is given up and retried.
    pub timeout: Duration,
}

impl Limits {
    /// How many of the reconciles at a time may be of one kind, of one project or at Vault for example: three quarters, so that those
    /// which all hang leave room for the others.
    pub(super) fn most_of_a_kind(&self) -> usize {
        (self.concurrency - self.concurrency / 4).max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 16, timeout: Duration::from_mins(1) }
    }
}

/// Reconciles what `trigger` brings until `shutdown`, then waits for what runs; that takes no longer than the timeout.
pub async fn run<R: Reconciler>(
    reconciler: Arc<R>,
    trigger: Trigger,
    limits: Limits,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    trigger.begin();
    metrics.watch_queue(R::KIND, trigger.clone());
    let seed = RandomState::new().hash_one(R::KIND);
    let mut run_loop = RunLoop {
        reconciler,
        trigger,
        limits,
        metrics,
        backoff: Backoff::new(Schedule::RECONCILE, seed),
        running: JoinSet::new(),
    };
    run_loop.until(shutdown).await;
    run_loop.drain().await;
}

struct RunLoop<R> {
    reconciler: Arc<R>,
    trigger: Trigger,
    limits: Limits,
    metrics: Arc<Metrics>,
    backoff: Backoff<ObjectKey>,
    running: JoinSet<Finished>,
}

struct Finished {
    key: ObjectKey,
    result: Result<Next, Failure>,
    took: Duration,
}

enum Failure {
    Error(ReconcileError),
    TimedOut,
    Panicked(String),
}

impl<R: Reconciler> RunLoop<R> {
    async fn until(&mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            self.start_ready();
            // When all slots are taken, the end of a reconcile is the only thing that can start another one.
            let may_start = self.running.len() < self.limits.concurrency;
            tokio::select! {
                Some(finished) = self.running.join_next() => self.finish(finished),
                () = self.trigger.wake(), if may_start => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    fn start_ready(&mut self) {
        while self.running.len() < self.limits.concurrency {
            let Some(key) = self.trigger.pop() else { return };
            self.running.spawn(attempt(self.reconciler.clone(), key, self.limits.timeout));
        }
    }

    async fn drain(&mut self) {
        while let Some(finished) = self.running.join_next().await {
            self.finish(finished);
        }
    }

    fn finish(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        match finished {
            Ok(Finished { key, result, took }) => {
                let next = self.judge(&key, result, took);
                self.trigger.done(&key, next);
            }
            // Panics are caught within the task and nobody aborts it.
            Err(error) => error!(kind = R::KIND, %error, "a reconcile's task ended without a result"),
        }
    }

    /// Counts and logs how a reconcile ended, and says when to run it again.
    fn judge(&mut self, key: &ObjectKey, result: Result<Next, Failure>, took: Duration) -> Option<Duration> {
        let outcome = match &result {
            Ok(Next::Retry(_)) => Outcome::Held,
            Ok(_) => Outcome::Success,
            Err(Failure::Error(error)) => Outcome::Error(error.label()),
            Err(Failure::TimedOut) => Outcome::Timeout,
            Err(Failure::Panicked(_)) => Outcome::Panic,
        };
        self.metrics.reconciled(R::KIND, outcome, took);

        let failure = match result {
            Ok(Next::Retry(by)) => {
                let retry = self.backoff.failed(key, self.reconciler.generation(key)).min(HELD);
                return Some(by.map_or(retry, |by| by.min(retry)));
            }
            Ok(next) => {
                self.backoff.forget(key);
                return next.delay();
            }
            Err(failure) => failure,
        };
        let retry = self.backoff.failed(key, self.reconciler.generation(key));
        failure.log(R::KIND, key, retry, self.limits.timeout);
        Some(retry)
    }
}

impl Next {
    fn delay(self) -> Option<Duration> {
        match self {
            Self::AwaitChange | Self::Retry(None) => None,
            Self::After(delay) | Self::Retry(Some(delay)) => Some(delay),
        }
    }
}

impl Failure {
    fn log(&self, kind: &'static str, key: &ObjectKey, retry: Duration, timeout: Duration) {
        let ObjectKey { namespace, name } = key;
        match self {
            Self::Error(error) => warn!(kind, %namespace, %name, ?retry, "reconcile failed: {error}"),
            Self::TimedOut => warn!(kind, %namespace, %name, ?retry, "reconcile gave up after {timeout:?}"),
            Self::Panicked(message) => error!(kind, %namespace, %name, ?retry, "reconcile panicked: {message}"),
        }
    }
}

/// One reconcile with all that may happen to it.
async fn attempt<R: Reconciler>(reconciler: Arc<R>, key: ObjectKey, timeout: Duration) -> Finished {
    let started = now();
    let span = info_span!("reconcile", kind = R::KIND, namespace = &*key.namespace, name = &*key.name);
    let reconcile = AssertUnwindSafe(reconciler.reconcile(&key)).catch_unwind();
    let result = match time::timeout(timeout, reconcile).instrument(span).await {
        Ok(Ok(Ok(next))) => Ok(next),
        Ok(Ok(Err(error))) => Err(Failure::Error(error)),
        Ok(Err(panic)) => Err(Failure::Panicked(panic_message(panic.as_ref()))),
        Err(_elapsed) => Err(Failure::TimedOut),
    };
    Finished { key, result, took: now().saturating_duration_since(started) }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}

/// Tokio's clock, which tests can stop.
fn now() -> Instant {
    time::Instant::now().into_std()
}
