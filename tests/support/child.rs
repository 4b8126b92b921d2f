//! An object that belongs to an environment, or takes the place of one, and what people do to it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Cluster, eventually};

/// An object of one of the built-in kinds.
#[derive(Clone, Debug)]
pub struct Child {
    cluster: &'static Cluster,
    namespace: String,
    kind: String,
    name: String,
}

impl Child {
    pub(super) fn new(cluster: &'static Cluster, namespace: &str, kind: &str, name: &str) -> Self {
        Self { cluster, namespace: namespace.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    /// The object, if it is there.
    #[track_caller]
    pub fn get(&self) -> Option<Value> {
        self.cluster.get(&[&self.kind, &self.name, "--namespace", &self.namespace])
    }

    /// The object, which must be there.
    #[track_caller]
    pub fn live(&self) -> Value {
        self.get().unwrap_or_else(|| panic!("there is no {self}"))
    }

    /// Changes it as somebody does whose program calls itself `manager`, and returns what came of it.
    #[track_caller]
    pub fn patch_as(&self, manager: &str, patch: &Value) -> Value {
        let patch = patch.to_string();
        let manager = format!("--field-manager={manager}");
        let args = [
            "patch",
            &self.kind,
            &self.name,
            "--namespace",
            &self.namespace,
            "--type=merge",
            &manager,
            "--patch",
            &patch,
        ];
        self.cluster.kubectl().json(args).unwrap()
    }

    /// Deletes it and waits for nothing.
    #[track_caller]
    pub fn delete(&self) {
        let args = ["delete", &self.kind, &self.name, "--namespace", &self.namespace, "--wait=false"];
        self.cluster.kubectl().run(args).unwrap();
    }

    /// Waits for a state of it. Says how long that took, if it was drift that had to be put right.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut found: impl FnMut(&Value) -> bool) -> Value {
        eventually(&format!("{what} of {self}"), || self.get().filter(&mut found))
    }

    /// Waits until it is as it was, but for what the API server counts, and returns how long that took.
    #[track_caller]
    pub fn wait_restored(&self, before: &Value) -> Duration {
        let start = Instant::now();
        let intended = content(before);
        let mut last = Value::Null;
        let look = devcluster::wait_until(&format!("the repair of {self}"), super::LIMIT, || {
            last = self.get().unwrap_or_default();
            let ends = !last["metadata"]["deletionTimestamp"].is_null();
            Ok((content(&last) == intended && !ends).then_some(()))
        });
        if let Err(error) = look {
            panic!("{error}; it is {:#}, and was {intended:#}", content(&last));
        }
        start.elapsed()
    }

    /// Waits until it is gone.
    #[track_caller]
    pub fn wait_gone(&self) {
        eventually(&format!("the end of {self}"), || self.get().is_none().then_some(()));
    }
}

impl std::fmt::Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// An object without what the API server and the controllers of Kubernetes keep in it.
pub fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = content["metadata"].as_object_mut() {
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
            metadata.remove(field);
        }
    }
    content
}
