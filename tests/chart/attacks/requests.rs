//! Requests to the API server, each as somebody else, with their own certificate or token.

use std::{collections::HashMap, path::Path};

use http::{Method, Request};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::actors::Actor;
use crate::support::Project;

/// One request, as a dry run.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    /// With the query, but for the dry run's.
    pub path: String,
    pub content_type: &'static str,
    pub body: Value,
}

/// What the API server said.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub message: String,
}

impl Answer {
    pub fn allowed(&self) -> bool {
        self.code < 400
    }
}

/// A client for each actor.
pub struct Attackers {
    runtime: Runtime,
    clients: HashMap<&'static str, Client>,
}

impl Attackers {
    pub fn new(project: &Project, actors: &[Actor]) -> Self {
        let runtime = Runtime::new().unwrap();
        let plane = project.cluster().plane();
        let client = |actor: &Actor| {
            let kubeconfig = match actor.user.strip_prefix("system:serviceaccount:") {
                Some(account) => {
                    let (namespace, name) = account.split_once(':').unwrap();
                    plane.service_account_kubeconfig(namespace, name).unwrap()
                }
                None if actor.name == "admin" => plane.kubeconfig_for_admin(),
                None => plane.person(&actor.user, &[]).unwrap(),
            };
            (actor.name, runtime.block_on(connect(&kubeconfig)))
        };
        let clients = actors.iter().map(client).collect();
        Self { runtime, clients }
    }

    /// What the API server says to this actor.
    pub fn ask(&self, actor: &Actor, asked: &Asked) -> Answer {
        self.runtime.block_on(send(&self.clients[actor.name], asked))
    }
}

/// A client with this kubeconfig.
pub async fn connect(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Asks, and changes nothing.
pub async fn send(client: &Client, asked: &Asked) -> Answer {
    let separator = if asked.path.contains('?') { '&' } else { '?' };
    let body = if asked.body.is_null() { vec![] } else { asked.body.to_string().into_bytes() };
    let request = Request::builder()
        .method(asked.method.clone())
        .uri(format!("{}{separator}dryRun=All", asked.path))
        .header("content-type", asked.content_type)
        .body(body)
        .unwrap();
    match client.request_text(request).await {
        Ok(_) => Answer { code: 200, message: String::new() },
        Err(kube::Error::Api(status)) => Answer { code: status.code, message: status.message.clone() },
        Err(error) => panic!("{asked:?}: {error}"),
    }
}
