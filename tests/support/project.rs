//! One test's project.

use std::thread;

use environment_manager::api::Digest;
use serde_json::json;

use super::{Builder, Cluster, Environment, Request, kstatus};

/// A project of its own for one test, in a cluster that it may share with others.
///
/// When the test ends well, every state that any of its environments ever showed is held against the rules of kstatus.
#[derive(Debug)]
pub struct Project {
    inner: devcluster::Project<'static>,
    cluster: &'static Cluster,
    /// Somebody else writes into statuses.
    lies: bool,
}

impl Project {
    /// A project in the shared cluster, where an operator runs.
    pub fn new(id: &str) -> Self {
        Self::in_cluster(Cluster::shared(), id)
    }

    /// A project in this cluster.
    pub fn in_cluster(cluster: &'static Cluster, id: &str) -> Self {
        Self { inner: cluster.plane().project(id).unwrap(), cluster, lies: false }
    }

    /// States of which the operator is not the only author are not held against the rules of kstatus.
    pub fn in_which_somebody_lies(mut self) -> Self {
        self.lies = true;
        self
    }

    /// The cluster.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// The project's namespace.
    pub fn namespace(&self) -> &str {
        self.inner.namespace()
    }

    /// The project's id in the platform.
    pub fn id(&self) -> &str {
        self.inner.id()
    }

    /// Publishes a version.
    pub fn version(&self, name: &str) {
        let part = |what: &str| json!(Digest::of(format!("{name}/{what}").as_bytes()));
        let content = json!({
            "entities": {"Customer": part("Customer"), "Order": part("Order")},
            "flows": {"Checkout": part("Checkout")},
        });
        self.create(&json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
            "metadata": {"name": name, "namespace": self.namespace()},
            "spec": {"version": name, "content": content},
        }));
    }

    /// An environment of this project in the making: of class Staging, from nothing.
    pub fn environment(&self, name: &str) -> Builder<'_> {
        Builder::new(self, name)
    }

    /// An environment that exists, or existed.
    pub fn existing(&self, name: &str) -> Environment<'_> {
        Environment::of(self, name)
    }

    /// Creates an object.
    #[track_caller]
    pub fn create(&self, manifest: &serde_json::Value) {
        self.cluster.kubectl().create(&manifest.to_string()).unwrap();
    }

    /// `kubectl` in the project's namespace.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).unwrap_or_else(|error| panic!("{error}"))
    }

    /// `kubectl` in the project's namespace, which may fail.
    pub fn try_kubectl(&self, args: &[&str]) -> devcluster::Result<String> {
        self.cluster.kubectl().run(["--namespace", self.namespace()].iter().chain(args))
    }

    /// The writes that the operator made for this project so far.
    pub fn operator_writes(&self) -> Vec<Request> {
        let writes = self.cluster.operator_writes();
        writes.into_iter().filter(|request| request.concerns(self.namespace())).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if !thread::panicking() && !self.lies {
            self.cluster.watch().states_in(self.namespace()).iter().for_each(|state| kstatus::check(&state.object));
        }
    }
}
