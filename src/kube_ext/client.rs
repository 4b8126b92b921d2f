//! The client for the Kubernetes API.
//!
//! kube's own stack is put together anew here, from kube's parts, because of what cannot be set from outside:
//!
//! - [`RequestsLayer`]: header timeout, short retry, counted requests, instead of kube's long retry;
//! - TCP keepalive, so that a connection whose other end vanished is noticed, watches included;
//! - idle connections are closed: a burst of parallel applies would else hold its TLS buffers for good.
//!
//! HTTP/1.1 only, as kube's: one connection per watch and per request in flight.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderValue, header::USER_AGENT};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _},
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use thiserror::Error;
use tower::{BoxError, ServiceBuilder};

use super::{
    errors::{describe, with_causes},
    requests::RequestsLayer,
};
use crate::metrics::Metrics;

const AGENT: &str = concat!("environment-manager/", env!("CARGO_PKG_VERSION"));

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle for this long, then probed: a dead peer is noticed after 15 + 3 × 5 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

const IDLE_CONNECTION_LIFE: Duration = Duration::from_secs(30);

/// Which cluster to speak to, as whom.
#[derive(Clone, Debug, Default)]
pub struct ClusterAccess {
    /// The kubeconfig file. Without one: `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig. Without one: the current context.
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The kubeconfig cannot be used.
    #[error("cannot use kubeconfig{}: {}", in_path(.path.as_ref()), with_causes(.source))]
    Kubeconfig {
        /// The file, where one was named.
        path: Option<PathBuf>,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// Neither a kubeconfig nor a pod's service account was found.
    #[error("found no cluster to connect to: {}", with_causes(.0))]
    NoCluster(#[source] Box<InferConfigError>),
    /// The client's TLS or authentication cannot be set up.
    #[error("cannot set up the connection to the cluster: {}", describe(.0))]
    Setup(#[source] Box<kube::Error>),
}

/// Loads the configuration and builds a client of it. Does not connect yet.
pub async fn connect(access: &ClusterAccess, metrics: Arc<Metrics>) -> Result<Client, ClientError> {
    build(load(access).await?, metrics)
}

/// The client for a configuration that is already loaded.
pub fn build(mut config: Config, metrics: Arc<Metrics>) -> Result<Client, ClientError> {
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    stack(&config, metrics).map_err(|error| ClientError::Setup(Box::new(error)))
}

async fn load(access: &ClusterAccess) -> Result<Config, ClientError> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let loaded = match &access.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None if access.context.is_some() => Config::from_kubeconfig(&options).await,
        None => return Config::infer().await.map_err(|error| ClientError::NoCluster(Box::new(error))),
    };
    loaded.map_err(|source| ClientError::Kubeconfig { path: access.kubeconfig.clone(), source })
}

fn stack(config: &Config, metrics: Arc<Metrics>) -> kube::Result<Client> {
    let connector = config.rustls_https_connector_with_connector(tcp())?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION_LIFE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(RequestsLayer::new(metrics))
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Connections that notice a dead peer.
pub(crate) fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    tcp
}

fn in_path(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(" {}", path.display())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let access = ClusterAccess { kubeconfig: Some("/no/such/file".into()), context: None };
        let error = connect(&access, Arc::new(Metrics::new())).await.err().unwrap().to_string();
        assert!(error.starts_with("cannot use kubeconfig /no/such/file: failed to read"), "{error}");
    }
}
