//! One test's project.

use std::thread;

use environment_manager::api::Digest;
use serde_json::json;

use super::{Builder, Cluster, Environment, Promotion, Request, chart, kstatus};

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

    /// Somebody gets past the API server's guard here, and says whatever they like in the operator's place. States of which
    /// the operator is not the only author are not held against the rules of kstatus.
    pub fn in_which_somebody_lies(mut self) -> Self {
        self.lies = true;
        self.unguarded()
    }

    /// Somebody gets past the API server's guard here: they restore etcd, or take the policies away.
    pub fn unguarded(self) -> Self {
        self.unguard(self.namespace());
        self
    }

    /// The same for the namespace of an environment.
    pub fn unguard(&self, namespace: &str) {
        let label = format!("{}=true", chart::UNGUARDED);
        self.cluster.kubectl().run(["label", "namespace", namespace, &label]).unwrap();
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
        self.version_with(name, &json!({}));
    }

    /// Publishes a version whose spec says this as well.
    pub fn version_with(&self, name: &str, spec: &serde_json::Value) {
        let part = |what: &str| json!(Digest::of(format!("{name}/{what}").as_bytes()));
        let content = json!({
            "entities": {"Customer": part("Customer"), "Order": part("Order")},
            "flows": {"Checkout": part("Checkout")},
        });
        let mut version = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
            "metadata": {"name": name, "namespace": self.namespace()},
            "spec": {"version": name, "content": content},
        });
        for (field, value) in spec.as_object().unwrap() {
            version["spec"][field] = value.clone();
        }
        self.create(&version);
    }

    /// Reports a validation of a version, for the digest that it has.
    #[track_caller]
    pub fn validate(&self, version: &str, name: &str, result: &str) {
        let digest = super::eventually("the version's digest", || {
            let version = self.cluster.get("pver", self.namespace(), version)?;
            version["status"]["digest"].as_str().map(str::to_owned)
        });
        let result =
            json!({"name": name, "result": result, "digest": digest, "reporter": "ci", "at": "2026-01-01T00:00:00Z"});
        let status = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
            "metadata": {"name": version, "namespace": self.namespace()},
            "status": {"validations": [result]},
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, status.to_string()).unwrap();
        let (file, manager) = (file.path().to_str().unwrap(), format!("validator-{name}"));
        self.kubectl_of(
            "ci",
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "--subresource",
                "status",
                "--field-manager",
                &manager,
                "--filename",
                file,
            ],
        )
        .unwrap();
    }

    /// Ana asks for a promotion.
    #[track_caller]
    pub fn promote(&self, name: &str, spec: &serde_json::Value) -> Promotion<'_> {
        let manifest = Promotion::manifest(self, name, spec).to_string();
        self.cluster.kubectl_of("ana").create(&manifest).unwrap();
        Promotion::of(self, name)
    }

    /// An environment of this project in the making: of class Staging, from nothing.
    pub fn environment(&self, name: &str) -> Builder<'_> {
        Builder::new(self, name)
    }

    /// An environment that exists, or existed.
    pub fn existing(&self, name: &str) -> Environment<'_> {
        Environment::of(self, name)
    }

    /// A promotion that exists.
    pub fn existing_promotion(&self, name: &str) -> Promotion<'_> {
        Promotion::of(self, name)
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

    /// The same as somebody who has no more rights than their job asks for.
    pub fn kubectl_of(&self, person: &str, args: &[&str]) -> devcluster::Result<String> {
        self.cluster.kubectl_of(person).run(["--namespace", self.namespace()].iter().chain(args))
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
            let watches = [self.cluster.watch(), self.cluster.promotions()];
            let states = watches.into_iter().flat_map(|watch| watch.states_in(self.namespace()));
            states.for_each(|state| kstatus::check(&state.object));
        }
    }
}
