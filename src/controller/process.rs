//! What surrounds the controllers: client, metrics, HTTP server, signals, start and stop.
//!
//! Start: the server answers at once (not ready); watches fill the caches; when all of them are filled, controllers
//! begin. Stop: not ready any more; no reconcile begins; those under way may end; watches and server go last, so that
//! `/metrics` has the final numbers.

use std::{fmt::Debug, io, sync::Arc, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, FusedFuture as _, join_all},
};
use kube::{Api, Client, runtime::watcher};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinSet},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::run_loop::{self, Reconciler, Trigger};
use crate::{
    config::RunConfig,
    kube_ext::{
        cache::{Cache, Record},
        client::{self, ClientError},
        watch::{watch_custom_into_cache, watch_into_cache},
    },
    metrics::Metrics,
    server::{self, BindError, health::Health},
};

/// Added to the timeout of a reconcile: a controller with work that ends no reconcile for this long is stalled.
const STALL_MARGIN: Duration = Duration::from_mins(2);

/// What the HTTP server gets to end its answers.
const SERVER_GRACE: Duration = Duration::from_secs(2);

/// Why the operator ended other than on demand.
#[derive(Debug, Error)]
pub enum RunError {
    /// There is no client for the cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The address to listen on is not to be had.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// SIGTERM and SIGINT cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] io::Error),
    /// A part of the process ended while the others needed it. A restart is the remedy.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// A part of the process panicked, which is a bug.
    #[error("a part of the process failed: {0}")]
    Failed(#[source] JoinError),
    /// Work under way did not end in time. It is repeated after the restart; nothing is lost.
    #[error("work under way did not end within {0:?} of the stop")]
    Unfinished(Duration),
    /// A second signal came while the process was stopping.
    #[error("stopped by a second signal before work under way had ended")]
    Interrupted,
}

/// The process while it is put together; [`run`](Self::run) sets it going.
pub struct Process {
    /// The configuration.
    pub config: Arc<RunConfig>,
    /// For the Kubernetes API. Cheap to clone.
    pub client: Client,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    health: Arc<Health>,
    listener: Option<TcpListener>,
    /// End when their cache is filled.
    fillings: Vec<BoxFuture<'static, ()>>,
    /// Told when all caches are filled.
    filled: watch::Sender<bool>,
    controllers: Tasks,
    stop_controllers: CancellationToken,
    /// Watches and the server.
    background: Tasks,
    stop_background: CancellationToken,
}

/// Tasks that end with their name, to say which one it was.
type Tasks = JoinSet<&'static str>;

impl Process {
    /// Takes the address to listen on and makes the client. Does not connect to the cluster yet: where it is not
    /// reachable, the watches say so and go on trying.
    pub async fn new(config: RunConfig) -> Result<Self, RunError> {
        let metrics = Arc::new(Metrics::new());
        let client = client::connect(&config.cluster_access(), metrics.clone()).await?;
        let listener = server::bind(config.listen).await?;
        let health = Arc::new(Health::new(config.reconcile_timeout + STALL_MARGIN));
        Ok(Self {
            config: Arc::new(config),
            client,
            metrics,
            health,
            listener: Some(listener),
            fillings: Vec::new(),
            filled: watch::Sender::new(false),
            controllers: Tasks::new(),
            stop_controllers: CancellationToken::new(),
            background: Tasks::new(),
            stop_background: CancellationToken::new(),
        })
    }

    /// Keeps a cache of a built-in kind filled. Subscribe to the cache before. No controller begins until it is
    /// filled. `resource` is the plural name.
    pub fn watch<T>(&mut self, api: Api<T::Object>, config: watcher::Config, cache: &Cache<T>, resource: &'static str)
    where
        T: Record,
        T::Object: Clone + Debug + DeserializeOwned + Send + Sync,
    {
        self.expect(cache, resource);
        let (metrics, stop) = (self.metrics.clone(), self.stop_background.clone());
        let watch = watch_into_cache(api, config, cache.clone(), resource, metrics, stop);
        self.background.spawn(watch.map(move |()| resource));
    }

    /// As [`watch`](Self::watch), for a kind that may not be installed yet.
    pub fn watch_custom<T>(
        &mut self,
        api: Api<T::Object>,
        config: watcher::Config,
        cache: &Cache<T>,
        resource: &'static str,
    ) where
        T: Record,
        T::Object: Clone + Debug + DeserializeOwned + Send + Sync,
    {
        self.expect(cache, resource);
        let (metrics, stop) = (self.metrics.clone(), self.stop_background.clone());
        let watch = watch_custom_into_cache(api, config, cache.clone(), resource, metrics, stop);
        self.background.spawn(watch.map(move |()| resource));
    }

    /// Runs a controller as soon as all caches are filled.
    pub fn control<R: Reconciler>(&mut self, reconciler: Arc<R>, trigger: Trigger) {
        self.health.watch(R::KIND, trigger.clone());
        let mut filled = self.filled.subscribe();
        let (limits, metrics, stop) = (self.config.limits(), self.metrics.clone(), self.stop_controllers.clone());
        self.controllers.spawn(async move {
            tokio::select! {
                // Fails only when the process is dropped, and this task with it.
                _ = filled.wait_for(|filled| *filled) => {}
                () = stop.cancelled() => return R::KIND,
            }
            run_loop::run(reconciler, trigger, limits, metrics, stop).await;
            R::KIND
        });
    }

    /// Lets everything run until SIGTERM or SIGINT, or until a part of it fails; then stops in order.
    pub async fn run(mut self) -> Result<(), RunError> {
        let mut signals = Signals::new()?;
        self.start_server();
        let ended = self.until_end(&mut signals).await;
        let stopped = self.stop(&mut signals).await;
        ended.and(stopped)
    }

    fn expect<T: Record>(&mut self, cache: &Cache<T>, resource: &'static str) {
        let (asked, waited) = (cache.clone(), cache.clone());
        self.health.expect(resource, move || asked.ready());
        self.fillings.push(async move { waited.wait_until_ready().await }.boxed());
    }

    fn start_server(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        let server = server::serve(listener, self.health.clone(), self.metrics.clone(), self.stop_background.clone());
        info!(address = %self.config.listen, "serving /healthz, /readyz and /metrics");
        self.background.spawn(server.map(|served| {
            if let Err(error) = served {
                warn!("the HTTP server failed: {error}");
            }
            "the HTTP server"
        }));
    }

    /// `Ok` on a signal.
    async fn until_end(&mut self, signals: &mut Signals) -> Result<(), RunError> {
        let mut fillings = join_all(self.fillings.drain(..)).fuse();
        loop {
            tokio::select! {
                _ = &mut fillings, if !fillings.is_terminated() => {
                    info!("all caches are filled; the controllers begin");
                    self.filled.send_replace(true);
                }
                name = signals.next() => {
                    info!("stopping on {name}");
                    return Ok(());
                }
                Some(ended) = self.background.join_next() => return Err(unexpected(ended)),
                Some(ended) = self.controllers.join_next() => return Err(unexpected(ended)),
            }
        }
    }

    async fn stop(&mut self, signals: &mut Signals) -> Result<(), RunError> {
        self.health.stop();
        self.stop_controllers.cancel();
        let limit = self.config.shutdown_timeout;
        let drained = tokio::select! {
            drained = time::timeout(limit, all_ended(&mut self.controllers)) => {
                drained.map_err(|_elapsed| RunError::Unfinished(limit))
            }
            _ = signals.next() => Err(RunError::Interrupted),
        };
        self.stop_background.cancel();
        // A client that keeps its connection open does not keep the process; what is left is dropped with `self`.
        let _ = time::timeout(SERVER_GRACE, all_ended(&mut self.background)).await;
        drained
    }
}

async fn all_ended(tasks: &mut Tasks) {
    while tasks.join_next().await.is_some() {}
}

fn unexpected(ended: Result<&'static str, JoinError>) -> RunError {
    match ended {
        Ok(name) => RunError::Ended(name),
        Err(error) => RunError::Failed(error),
    }
}

/// The signals that ask the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let of = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Run {
        #[command(flatten)]
        config: RunConfig,
    }

    /// A process for a cluster that cannot be reached.
    async fn process() -> Process {
        let kubeconfig = env::temp_dir().join(format!("environment-manager-process-{}", std::process::id()));
        fs::write(
            &kubeconfig,
            r#"{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
               "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
               "users": [{"name": "u", "user": {}}]}"#,
        )
        .unwrap();
        let path = kubeconfig.to_str().unwrap();
        let run = Run::try_parse_from(["run", "--listen", "127.0.0.1:0", "--kubeconfig", path]).unwrap();
        Process::new(run.config).await.unwrap()
    }

    #[tokio::test]
    async fn a_part_that_ends_ends_the_process_with_its_name() {
        let mut process = process().await;
        process.background.spawn(async { "the watch of promotions" });
        let error = process.run().await.unwrap_err();
        assert_eq!(error.to_string(), "the watch of promotions ended unexpectedly");
    }

    #[tokio::test]
    async fn a_cluster_that_cannot_be_reached_is_no_reason_to_end() {
        let process = process().await;
        let ended = time::timeout(Duration::from_millis(300), process.run()).await;
        assert!(ended.is_err());
    }
}
