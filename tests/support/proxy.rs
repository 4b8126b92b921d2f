//! A proxy between an operator and the API server that can stop the world at an exact write.
//!
//! It journals every write, and from a chosen one on passes no write any more and answers none: whoever waits for an
//! answer waits until it is killed. So a test sees what a crash at that very point leaves behind.

use std::{
    fs,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use tokio::{net::TcpListener, runtime};

use super::{Cluster, eventually};

/// Larger than anything that the operator sends.
const LARGEST: usize = 4 << 20;

/// A running proxy. It ends with the test's process.
#[derive(Debug)]
pub struct Proxy {
    kubeconfig: PathBuf,
    control: Arc<Mutex<Control>>,
}

#[derive(Debug)]
struct Control {
    /// Writes below this path are journaled.
    project: String,
    /// The writes that were passed on.
    passed: Vec<String>,
    /// How many may be passed on.
    limit: usize,
    /// Whether nothing is passed on any more.
    cut: bool,
    /// Whether a write was held.
    holding: bool,
    /// How many of those passed on have no answer yet.
    unanswered: usize,
}

#[derive(Clone)]
struct Upstream {
    client: Client,
    control: Arc<Mutex<Control>>,
}

impl Proxy {
    /// A proxy to this cluster that journals what is written to the project whose namespace has this name, and to its
    /// environments' namespaces.
    pub fn start(cluster: &Cluster, project: &str) -> Self {
        let control = Control {
            project: format!("/namespaces/{project}"),
            passed: vec![],
            limit: usize::MAX,
            cut: false,
            holding: false,
            unanswered: 0,
        };
        let control = Arc::new(Mutex::new(control));
        let operator = Kubeconfig::read_from(cluster.operator_kubeconfig()).unwrap();
        let (upstream, shared) = (operator.clone(), control.clone());
        let (tell, address) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(upstream, shared, &tell));
        });
        let kubeconfig = cluster.dir().join(format!("kubeconfig/proxy-{project}"));
        fs::write(&kubeconfig, through(operator, address.recv().unwrap())).unwrap();
        Self { kubeconfig, control }
    }

    /// For an operator that goes through the proxy.
    pub fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    /// Begins a new journal, and lets `limit` more writes through.
    pub fn let_through(&self, limit: usize) {
        let mut control = self.control();
        control.passed.clear();
        control.limit = limit;
        control.holding = false;
    }

    /// Lets everything through, and goes on with the journal.
    pub fn let_all_through(&self) {
        let mut control = self.control();
        control.limit = usize::MAX;
        control.holding = false;
    }

    /// From now on nothing is passed on, reads and renewals included, and nothing is answered.
    pub fn cut(&self) {
        self.control().cut = true;
    }

    /// Waits until a write is held, and all that were passed on before it are answered.
    pub fn wait_until_holding(&self) {
        self.wait_until_holding_or(|| false);
    }

    /// Waits until a write is held, or all is done without it.
    pub fn wait_until_holding_or(&self, done: impl Fn() -> bool) {
        let holding = |control: &Control| control.holding && control.unanswered == 0;
        eventually("a write to be held", || (holding(&self.control()) || done()).then_some(()));
    }

    /// The writes that were passed on, in their order.
    pub fn journal(&self) -> Vec<String> {
        self.control().passed.clone()
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }
}

fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same kubeconfig, by way of this address. Plain HTTP: it stays within the machine.
fn through(mut kubeconfig: Kubeconfig, proxy: SocketAddr) -> String {
    for named in &mut kubeconfig.clusters {
        if let Some(cluster) = &mut named.cluster {
            cluster.server = Some(format!("http://{proxy}"));
            cluster.certificate_authority = None;
            cluster.certificate_authority_data = None;
        }
    }
    serde_json::to_string(&kubeconfig).unwrap()
}

async fn serve(upstream: Kubeconfig, control: Arc<Mutex<Control>>, tell: &std::sync::mpsc::Sender<SocketAddr>) {
    let mut config = Config::from_custom_kubeconfig(upstream, &KubeConfigOptions::default()).await.unwrap();
    // Who asks proves it with the token in the request.
    config.auth_info = AuthInfo::default();
    config.default_retry = false;
    let upstream = Upstream { client: Client::try_from(config).unwrap(), control };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    tell.send(listener.local_addr().unwrap()).unwrap();
    axum::serve(listener, Router::new().fallback(pass).with_state(upstream)).await.unwrap();
}

async fn pass(State(upstream): State<Upstream>, request: Request) -> Response {
    let Some(pass) = admit(&upstream.control, &request) else {
        return pending().await;
    };
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    let body = to_bytes(body, LARGEST).await.unwrap();
    let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    // A task of its own: what is passed on arrives, although the operator is killed before it is answered.
    let answer = tokio::spawn(async move {
        let response = upstream.client.send(request).await;
        if pass == Pass::Journaled {
            lock(&upstream.control).unanswered -= 1;
        }
        response
    });
    answer.await.unwrap().unwrap().map(Body::new)
}

/// How a request goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// As a write that counts.
    Journaled,
    /// As a read, an event (they are help for people) or what concerns another project.
    Freely,
}

/// Whether and how a request goes through.
fn admit(control: &Mutex<Control>, request: &Request) -> Option<Pass> {
    let path = request.uri().path();
    let mut control = lock(control);
    if control.cut {
        return None;
    }
    if request.method() == "GET" || path.contains("/events") || !path.contains(&control.project) {
        return Some(Pass::Freely);
    }
    if control.passed.len() >= control.limit {
        control.holding = true;
        return None;
    }
    control.passed.push(format!("{} {path}", request.method()));
    control.unanswered += 1;
    Some(Pass::Journaled)
}
