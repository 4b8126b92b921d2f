//! What surrounds the controllers: client, metrics, HTTP server, signals, start and stop.
//!
//! Start: the server answers at once (not ready); watches fill the caches, and the admission policies have to hold; then the
//! process is ready and takes part in the election of a leader. Only a leader's controllers begin, with warm caches. Stop: not
//! ready any more; no reconcile begins; those under way may end; the Lease is given back; watches and server go last, so that
//! `/metrics` has the final numbers. A leader that could not renew its Lease ends at once, in the middle of whatever it does:
//! another one may have begun.

use std::{
    fmt::Debug,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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

use super::{
    guard,
    rights::OPERATOR,
    run_loop::{self, Reconciler, Trigger},
};
use crate::{
    config::RunConfig,
    kube_ext::{
        cache::{Cache, Record},
        client::{self, ClientError},
        leader::{self, Candidate, Lost},
        watch::{watch_custom_into_cache, watch_into_cache},
    },
    metrics::Metrics,
    server::{self, BindError, health::Health},
    vault::SetupError,
};

/// Added to the timeout of a reconcile: a controller with work that ends no reconcile for this long is stalled.
const STALL_MARGIN: Duration = Duration::from_mins(2);

/// What is left of the events gets this long. A successor waits for it.
const TELL_GRACE: Duration = Duration::from_millis(500);

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
    /// Vault cannot be used as it is configured.
    #[error(transparent)]
    Vault(#[from] SetupError),
    /// SIGTERM and SIGINT cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] io::Error),
    /// The Lease could not be renewed in time, or somebody else has it. The process has stopped writing; a restart takes
    /// part in the election again.
    #[error("lost the leadership: the Lease was not renewed in time, or somebody else took it")]
    Leadership,
    /// The chart's admission policies do not hold any more. The process has stopped writing; a restart waits until they do.
    #[error("{0}; nothing is written until the chart's admission policies hold again")]
    Unguarded(String),
    /// The process was put together for something that is not so any more. A restart puts it together anew.
    #[error("{0}; a restart takes it up")]
    Outdated(String),
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
    /// Told when the controllers may begin.
    leading: watch::Sender<bool>,
    election: JoinSet<Result<(), Lost>>,
    guarding: JoinSet<String>,
    /// End when the process has to be put together anew, and say why.
    outdated: JoinSet<String>,
    stop_election: CancellationToken,
    controllers: Tasks,
    stop_controllers: CancellationToken,
    /// End when their controllers have ended and all is told.
    publishers: JoinSet<()>,
    /// Watches and the server.
    background: Tasks,
    stop_background: CancellationToken,
    signals: Signals,
    /// Everything has been put together.
    complete: Arc<AtomicBool>,
}

/// Tasks that end with their name, to say which one it was.
type Tasks = JoinSet<&'static str>;

impl Process {
    /// Takes the address to listen on and makes the client. Does not connect to the cluster yet: where it is not
    /// reachable, the watches say so and go on trying.
    pub async fn new(config: RunConfig) -> Result<Self, RunError> {
        let metrics = Arc::new(Metrics::new());
        let client = client::connect(&config.cluster_access(), metrics.clone()).await?;
        let signals = Signals::new()?;
        let listener = server::bind(config.listen).await?;
        let health = Arc::new(Health::new(config.reconcile_timeout + STALL_MARGIN));
        let complete = Arc::new(AtomicBool::new(false));
        let asked = complete.clone();
        health.expect("the controllers", move || asked.load(Ordering::Relaxed));
        Ok(Self {
            config: Arc::new(config),
            client,
            metrics,
            health,
            listener: Some(listener),
            fillings: Vec::new(),
            leading: watch::Sender::new(false),
            election: JoinSet::new(),
            guarding: JoinSet::new(),
            outdated: JoinSet::new(),
            stop_election: CancellationToken::new(),
            controllers: Tasks::new(),
            stop_controllers: CancellationToken::new(),
            publishers: JoinSet::new(),
            background: Tasks::new(),
            stop_background: CancellationToken::new(),
            signals,
            complete,
        })
    }

    /// Finds something out before the process is put together, with the server answering already: the API server may be away for long.
    /// `None` if a signal came meanwhile.
    pub async fn first<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.start_server();
        tokio::select! {
            found = work => Some(found),
            name = self.signals.next() => {
                info!("stopping on {name}");
                None
            }
        }
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

    /// Runs a controller as long as this process leads.
    pub fn control<R: Reconciler>(&mut self, reconciler: Arc<R>, trigger: Trigger) {
        self.health.watch(R::KIND, trigger.clone());
        let mut leading = self.leading.subscribe();
        let (limits, metrics, stop) = (self.config.limits(), self.metrics.clone(), self.stop_controllers.clone());
        self.controllers.spawn(async move {
            tokio::select! {
                // Fails only when the process is dropped, and this task with it.
                _ = leading.wait_for(|leading| *leading) => {}
                () = stop.cancelled() => return R::KIND,
            }
            run_loop::run(reconciler, trigger, limits, metrics, stop).await;
            R::KIND
        });
    }

    /// Does something beside the controllers, as long as this process leads. It never ends by itself.
    pub fn while_leading(&mut self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let (mut leading, stop) = (self.leading.subscribe(), self.stop_controllers.clone());
        self.controllers.spawn(async move {
            let work = async {
                // Fails only when the process is dropped, and this task with it.
                let _ = leading.wait_for(|leading| *leading).await;
                work.await;
            };
            stop.run_until_cancelled(work).await;
            name
        });
    }

    /// Ends the process, in order, when this ends: it says what is not any more as it was when the process was put together.
    pub fn end_when(&mut self, outdated: impl Future<Output = String> + Send + 'static) {
        self.outdated.spawn(outdated);
    }

    /// Publishes what controllers tell, until they have ended and all is told.
    pub fn publish(&mut self, publisher: impl Future<Output = ()> + Send + 'static) {
        self.publishers.spawn(publisher);
    }

    /// Lets everything run until SIGTERM or SIGINT, or until a part of it fails; then stops in order.
    pub async fn run(mut self) -> Result<(), RunError> {
        self.complete.store(true, Ordering::Relaxed);
        self.start_server();
        let ended = self.until_end().await;
        if matches!(ended, Err(RunError::Leadership | RunError::Unguarded(_))) {
            // Nothing more is written: all tasks end with `self`, wherever they are.
            return ended;
        }
        let stopped = self.stop().await;
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
    async fn until_end(&mut self) -> Result<(), RunError> {
        let mut prepared = self.prepare().boxed().fuse();
        loop {
            tokio::select! {
                // First: whoever has lost does not begin anything else.
                biased;
                Some(ended) = self.election.join_next() => return Err(lost(ended)),
                Some(missing) = self.guarding.join_next() => {
                    return Err(missing.map_or_else(RunError::Failed, RunError::Unguarded));
                }
                Some(changed) = self.outdated.join_next() => {
                    return Err(changed.map_or_else(RunError::Failed, RunError::Outdated));
                }
                () = &mut prepared, if !prepared.is_terminated() => {
                    info!("ready; taking part in the election of a leader");
                    self.take_part();
                }
                name = self.signals.next() => {
                    info!("stopping on {name}");
                    return Ok(());
                }
                Some(ended) = self.background.join_next() => return Err(unexpected(ended)),
                Some(ended) = self.controllers.join_next() => return Err(unexpected(ended)),
            }
        }
    }

    /// Fills the caches and waits until the admission policies hold.
    fn prepare(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let enforced = Arc::new(AtomicBool::new(false));
        let asked = enforced.clone();
        self.health.expect("admission policies", move || asked.load(Ordering::Relaxed));
        let fillings = join_all(self.fillings.drain(..));
        let (client, namespace, vault) = (self.client.clone(), self.namespace(), self.uses_vault());
        async move {
            let guarded = async {
                guard::wait_until_enforced(&client, &namespace, vault).await;
                enforced.store(true, Ordering::Relaxed);
            };
            futures::join!(fillings, guarded);
        }
    }

    fn take_part(&mut self) {
        self.guarding.spawn(guard::until_not_enforced(self.client.clone(), self.namespace(), self.uses_vault()));
        let api = Api::namespaced(self.client.clone(), &self.namespace());
        let candidate = Candidate::new(self.config.unique_identity(), self.config.terms());
        let (leading, stop) = (self.leading.clone(), self.stop_election.clone());
        self.election.spawn(leader::lead(api, OPERATOR, candidate, leading, stop));
    }

    /// The namespace that the operator runs in.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.config.namespace.clone().unwrap_or_else(|| self.client.default_namespace().to_owned())
    }

    fn uses_vault(&self) -> bool {
        self.config.vault.vault_address.is_some()
    }

    async fn stop(&mut self) -> Result<(), RunError> {
        self.health.stop();
        self.stop_controllers.cancel();
        let limit = self.config.shutdown_timeout;
        let drained = tokio::select! {
            ended = self.election.join_next(), if !self.election.is_empty() => Err(ended.map_or(RunError::Leadership, lost)),
            drained = time::timeout(limit, all_ended(&mut self.controllers)) => {
                drained.map_err(|_elapsed| RunError::Unfinished(limit))
            }
            _ = self.signals.next() => Err(RunError::Interrupted),
        };
        self.controllers.shutdown().await;
        if !matches!(drained, Err(RunError::Leadership)) {
            let _ = time::timeout(TELL_GRACE, async { while self.publishers.join_next().await.is_some() {} }).await;
        }
        self.publishers.shutdown().await;
        // Nothing is written any more: whoever comes next may begin.
        self.stop_election.cancel();
        while self.election.join_next().await.is_some() {}
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

fn lost(ended: Result<Result<(), Lost>, JoinError>) -> RunError {
    ended.map_or_else(RunError::Failed, |_| RunError::Leadership)
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
