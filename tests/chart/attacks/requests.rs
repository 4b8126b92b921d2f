//! Requests to the API server, each as somebody else, with their own certificate or token.

use std::{collections::HashMap, path::Path};

use http::{Method, Request};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::actors::Actor;
use crate::support::{Project, eventually};

/// One request, as a dry run.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    /// With the query, but for the dry run's.
    pub path: String,
    pub form: Form,
    pub body: Value,
}

/// How a change is asked for. The body is that of a merge patch; the others are made of it and of the object as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// No change of an object that is there.
    AsItIs,
    MergePatch,
    Replace,
    JsonPatch,
    Apply,
}

impl Asked {
    fn content_type(&self) -> &'static str {
        match self.form {
            Form::AsItIs | Form::Replace => "application/json",
            Form::MergePatch => "application/merge-patch+json",
            Form::JsonPatch => "application/json-patch+json",
            Form::Apply => "application/apply-patch+yaml",
        }
    }

    /// The same change in its own form, of this object.
    fn of(&self, live: &Value) -> Self {
        let mut asked = self.clone();
        let mut merged = live.clone();
        merge(&mut merged, &self.body);
        match self.form {
            Form::AsItIs | Form::MergePatch => {}
            Form::Replace => (asked.method, asked.body) = (Method::PUT, merged),
            Form::JsonPatch => asked.body = json_patch(&self.body, &merged),
            Form::Apply => {
                let metadata = json!({"name": live["metadata"]["name"], "namespace": live["metadata"]["namespace"]});
                let mut body = json!({"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata});
                merge(&mut body, &self.body);
                asked.body = body;
                asked.path.push_str("?fieldManager=attack&force=true");
            }
        }
        asked
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// The parts that the patch names, as they are in the merged object.
fn json_patch(patch: &Value, merged: &Value) -> Value {
    let mut operations = vec![];
    for (part, fields) in patch.as_object().unwrap() {
        let names = if part == "metadata" {
            fields.as_object().unwrap().keys().map(String::as_str).collect()
        } else {
            vec![""]
        };
        for name in names {
            let (pointer, value) = if name.is_empty() {
                (format!("/{part}"), &merged[part])
            } else {
                (format!("/{part}/{name}"), &merged[part][name])
            };
            operations.push(match value {
                Value::Null => json!({"op": "remove", "path": pointer}),
                value => json!({"op": "add", "path": pointer, "value": value}),
            });
        }
    }
    Value::Array(operations)
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
        let client = &self.clients[actor.name];
        if matches!(asked.form, Form::AsItIs | Form::MergePatch) {
            return self.runtime.block_on(send(client, asked));
        }
        // The operator may have written it meanwhile.
        eventually("an answer to the object as it is", || {
            let live = Request::get(&asked.path).body(vec![]).unwrap();
            let live: Value = self.runtime.block_on(self.clients["admin"].request(live)).unwrap();
            let answer = self.runtime.block_on(send(client, &asked.of(&live)));
            (answer.code != 409).then_some(answer)
        })
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
        .header("content-type", asked.content_type())
        .body(body)
        .unwrap();
    match client.request_text(request).await {
        Ok(_) => Answer { code: 200, message: String::new() },
        Err(kube::Error::Api(status)) => Answer { code: status.code, message: status.message.clone() },
        Err(error) => panic!("{asked:?}: {error}"),
    }
}
