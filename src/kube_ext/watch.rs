//! One task per kind that keeps its cache in step with the cluster, whatever happens to the connection.
//!
//! Each watch stands alone: it has its own backoff, and an error of one (a missing right, say) delays no other. Errors
//! are counted, logged now and then, and never end the task. What is cached stays readable meanwhile.
//!
//! **A dead watch is noticed within 30 seconds.** An API server that has nothing to say and one that is unreachable
//! behind a load balancer look the same. So each watch asks the server to end it after `WATCH_TIMEOUT`; if it does
//! not end five seconds later, the connection is dropped. A new watch resumes where the last one ended, over the same
//! connection if that lives: one cheap request per kind every 25 seconds. The server sends a bookmark shortly before
//! it ends a watch, so a resume is never from too far back. If a first list takes longer than that, it gets more time
//! (`Watch::follow`).

use std::{
    fmt::Debug,
    hash::{BuildHasher as _, RandomState},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    api::ListParams,
    runtime::watcher::{self, Event, InitialListStrategy, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    backoff::Schedule,
    cache::{Cache, Record},
    errors::describe_watch,
};
use crate::metrics::Metrics;

#[cfg(test)]
mod tests;

/// After which the server ends a watch, in seconds.
const WATCH_TIMEOUT: u32 = 25;

/// The most that a list which does not finish in time is given: kube's default, and below what API servers allow.
const LONGEST_WATCH_TIMEOUT: u32 = 290;

/// How often an error that persists is logged, and how often we look whether a kind is installed.
const REMINDER: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(2);

/// Where nothing changes, a watch that works shows no sign of it but that it has had no error for this long.
const FORGIVEN: Duration = Duration::from_mins(2);

/// The answer for a path that the API server does not know is plain text, so there is no reason to look at but the code.
const NOT_SERVED: u16 = 404;

/// Keeps `cache` in step with what `api` lists, until `shutdown`. `config` holds selectors, if any; how to list, and
/// for how long to watch, is decided here. `resource` is the plural name, for logs and metrics.
pub async fn watch_into_cache<T>(
    api: Api<T::Object>,
    config: watcher::Config,
    cache: Cache<T>,
    resource: &'static str,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) where
    T: Record,
    T::Object: Clone + Debug + DeserializeOwned + Send,
{
    let counted = cache.clone();
    metrics.watch_cache(resource, move || counted.len());
    let config = config.streaming_lists().timeout(WATCH_TIMEOUT);
    let mut watch = Watch { api, config, cache, resource, metrics, faults: Faults::default() };
    // Dropping the stream closes the connection; there is nothing to finish.
    tokio::select! {
        () = watch.forever() => {}
        () = shutdown.cancelled() => {}
    }
}

/// As [`watch_into_cache`], for a kind that may not be installed (yet): first waits until the API server serves it,
/// and meanwhile says how to install it.
pub async fn watch_custom_into_cache<T>(
    api: Api<T::Object>,
    config: watcher::Config,
    cache: Cache<T>,
    resource: &'static str,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) where
    T: Record,
    T::Object: Clone + Debug + DeserializeOwned + Send,
{
    tokio::select! {
        () = wait_until_served(&api, resource) => {}
        () = shutdown.cancelled() => return,
    }
    watch_into_cache(api, config, cache, resource, metrics, shutdown).await;
}

/// Returns when the API server does not say that it does not know the resource. Any other answer, a refusal included,
/// is for the watch to deal with.
async fn wait_until_served<K>(api: &Api<K>, resource: &'static str)
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut reminded: Option<Instant> = None;
    while let Err(kube::Error::Api(status)) = api.list(&ListParams::default().limit(1)).await
        && status.code == NOT_SERVED
    {
        if reminded.is_none_or(|at| at.elapsed() >= REMINDER) {
            warn!(
                resource,
                "the cluster does not know this resource; install the CustomResourceDefinitions \
                 (`environment-manager crds | kubectl apply --server-side -f -`)"
            );
            reminded = Some(Instant::now());
        }
        time::sleep(PROBE).await;
    }
    if reminded.is_some() {
        info!(resource, "the cluster knows the resource now");
    }
}

struct Watch<T: Record> {
    api: Api<T::Object>,
    config: watcher::Config,
    cache: Cache<T>,
    resource: &'static str,
    metrics: Arc<Metrics>,
    faults: Faults,
}

/// Why a stream of events is given up for a new one.
enum Restart {
    /// A list began before the last one was complete: it needs more time, or the connection does not last.
    ListUnfinished,
    /// The server does not know how to list as a stream (before Kubernetes 1.32, or switched off).
    NoStreamingLists,
}

impl<T> Watch<T>
where
    T: Record,
    T::Object: Resource + Clone + Debug + DeserializeOwned + Send,
{
    async fn forever(&mut self) {
        loop {
            match self.follow().await {
                Restart::NoStreamingLists => {
                    info!(resource = self.resource, "the API server has no streaming lists; listing in pages");
                    self.config.initial_list_strategy = InitialListStrategy::ListWatch;
                }
                Restart::ListUnfinished => {
                    let timeout = self.config.timeout.unwrap_or(WATCH_TIMEOUT);
                    self.config.timeout = Some((timeout * 2).min(LONGEST_WATCH_TIMEOUT));
                    self.back_off("the list ended before it was complete").await;
                }
            }
        }
    }

    /// Feeds the cache from one stream of events, which kube resumes after errors, until it takes a new stream with
    /// other settings. A list that is cut short by the watch's time limit would be so for ever: it gets a new stream
    /// with twice the time.
    async fn follow(&mut self) -> Restart {
        let mut events = pin!(watcher(self.api.clone(), self.config.clone()));
        let mut listing = false;
        while let Some(event) = events.next().await {
            match event {
                Err(error) if self.refuses_streaming_lists(&error) => return Restart::NoStreamingLists,
                Err(error) => {
                    // If a list begins now, it is for this error and not for lack of time.
                    listing = false;
                    self.back_off(&describe_watch(&error)).await;
                }
                Ok(Event::Init) if listing => return Restart::ListUnfinished,
                Ok(event) => {
                    match &event {
                        Event::Init => listing = true,
                        Event::InitApply(_) => {}
                        Event::InitDone | Event::Apply(_) | Event::Delete(_) => {
                            listing = false;
                            self.faults.over(self.resource);
                        }
                    }
                    self.cache.apply(event);
                }
            }
        }
        // kube's stream has no end.
        Restart::ListUnfinished
    }

    fn refuses_streaming_lists(&self, error: &watcher::Error) -> bool {
        let streaming = self.config.initial_list_strategy == InitialListStrategy::StreamingList;
        streaming && matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.is_invalid())
    }

    async fn back_off(&mut self, error: &str) {
        self.metrics.watch_failed(self.resource);
        let delay = self.faults.add(self.resource, error);
        time::sleep(delay).await;
    }
}

/// Errors of a watch since it last worked.
#[derive(Default)]
struct Faults {
    in_a_row: u32,
    last: Option<Instant>,
    last_logged: Option<Instant>,
}

impl Faults {
    /// Counts one more, logs it unless one was logged lately, and says how long to wait.
    fn add(&mut self, resource: &'static str, error: &str) -> Duration {
        if self.last.is_some_and(|at| at.elapsed() >= FORGIVEN) {
            self.in_a_row = 0;
        }
        self.last = Some(Instant::now());
        self.in_a_row = self.in_a_row.saturating_add(1);
        let errors = self.in_a_row;
        if self.last_logged.is_none_or(|at| at.elapsed() >= REMINDER) {
            self.last_logged = Some(Instant::now());
            warn!(resource, errors, "watch failed, trying again: {error}");
        } else {
            debug!(resource, errors, "watch failed, trying again: {error}");
        }
        Schedule::WATCH.delay(errors, RandomState::new().hash_one(errors))
    }

    fn over(&mut self, resource: &'static str) {
        if self.in_a_row > 0 {
            info!(resource, errors = self.in_a_row, "watch works again");
            self.in_a_row = 0;
        }
    }
}
