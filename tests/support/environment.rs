//! An environment, as people make it, look at it, change it and delete it.

use environment_manager::{
    api::EnvironmentRevisionSpec,
    domain::revision::chain::{self, Broken},
};
use serde_json::{Value, json};

use super::{Child, Project, eventually, kstatus, watch::State};

/// An environment in the making.
#[derive(Debug)]
pub struct Builder<'project> {
    project: &'project Project,
    name: String,
    spec: Value,
    metadata: Value,
}

impl<'project> Builder<'project> {
    pub(super) fn new(project: &'project Project, name: &str) -> Self {
        let metadata = json!({"name": name, "namespace": project.namespace()});
        Self { project, name: name.to_owned(), spec: json!({"class": "Staging", "config": {}}), metadata }
    }

    /// What it is for.
    pub fn class(self, class: &str) -> Self {
        self.with("class", json!(class))
    }

    /// It starts with another environment's version and configuration.
    pub fn cloned_from(self, base: &str) -> Self {
        self.with("baseFrom", json!({"environment": base}))
    }

    /// It starts with a version.
    pub fn starting_with(self, version: &str) -> Self {
        self.with("baseFrom", json!({"version": version}))
    }

    /// It is a preview that ends after this time.
    pub fn preview(self, ttl: &str) -> Self {
        self.class("Preview").with("ttl", json!(ttl))
    }

    /// Its namespace stays when it is deleted.
    pub fn retained(self) -> Self {
        self.with("deletionPolicy", json!("Retain"))
    }

    /// A plain variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.push("variables", json!({"name": name, "value": value}));
        self
    }

    /// A reference to a secret.
    pub fn secret(mut self, name: &str, path: &str, key: &str) -> Self {
        self.push("variables", json!({"name": name, "vault": {"path": path, "key": key}}));
        self
    }

    /// A feature flag.
    pub fn flag(mut self, name: &str, enabled: bool) -> Self {
        self.push("flags", json!({"name": name, "enabled": enabled}));
        self
    }

    /// Any field of the spec.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    /// A finalizer of somebody else.
    pub fn finalizer(mut self, finalizer: &str) -> Self {
        self.metadata["finalizers"] = json!([finalizer]);
        self
    }

    fn push(&mut self, list: &str, entry: Value) {
        match self.spec["config"][list].as_array_mut() {
            Some(entries) => entries.push(entry),
            None => self.spec["config"][list] = json!([entry]),
        }
    }

    /// The custom resource.
    pub fn manifest(&self) -> Value {
        json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
            "metadata": self.metadata, "spec": self.spec,
        })
    }

    /// Creates it.
    #[track_caller]
    pub fn create(self) -> Environment<'project> {
        self.project.create(&self.manifest());
        Environment { project: self.project, name: self.name }
    }

    /// Creates it and waits until it is ready.
    #[track_caller]
    pub fn ready(self) -> Environment<'project> {
        let environment = self.create();
        environment.wait_ready();
        environment
    }

    /// What the API server says when it refuses to create it.
    #[track_caller]
    pub fn refused(self) -> String {
        match self.project.cluster().kubectl().create(&self.manifest().to_string()) {
            Ok(_) => panic!("the API server let it in: {:#}", self.manifest()),
            Err(error) => error.to_string(),
        }
    }
}

/// An environment.
#[derive(Clone, Debug)]
pub struct Environment<'project> {
    project: &'project Project,
    name: String,
}

impl<'project> Environment<'project> {
    pub(super) fn of(project: &'project Project, name: &str) -> Self {
        Self { project, name: name.to_owned() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its namespace.
    pub fn namespace(&self) -> String {
        format!("{}--{}", self.project.namespace(), self.name)
    }

    /// The custom resource as it is now, as the API server says.
    pub fn get(&self) -> Option<Value> {
        self.project.cluster().get("penv", self.project.namespace(), &self.name)
    }

    /// The custom resource, which must be there.
    #[track_caller]
    pub fn live(&self) -> Value {
        self.get().unwrap()
    }

    /// All states that it had so far.
    pub fn states(&self) -> Vec<State> {
        self.project.cluster().watch().states(self.project.namespace(), &self.name)
    }

    /// Its UID.
    #[track_caller]
    pub fn uid(&self) -> String {
        self.live()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// Waits for a state of it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut found: impl FnMut(&Value) -> bool) -> Value {
        let watch = self.project.cluster().watch();
        let mut last = None;
        let limit = super::LIMIT;
        let seen = devcluster::wait_until(what, limit, || {
            last = watch.current(self.project.namespace(), &self.name);
            Ok(last.clone().filter(&mut found))
        });
        match seen {
            Ok(object) => object,
            Err(error) => panic!(
                "{}: {error}; it is {:#}",
                self.name,
                last.map(|mut last| last["status"].take()).unwrap_or_default()
            ),
        }
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.condition_is("Ready", "True")
    }

    /// Whether it says this of itself.
    pub fn condition_is(&self, name: &str, status: &str) -> bool {
        self.condition(name).is_some_and(|condition| condition["status"] == status)
    }

    /// Annotates it.
    pub fn annotate(&self, name: &str, value: &str) {
        self.patch(&json!({"metadata": {"annotations": {name: value}}}));
    }

    /// Changes it with a merge patch.
    pub fn patch(&self, patch: &Value) {
        let kubectl = self.project.cluster().kubectl();
        let patch = patch.to_string();
        let namespace = self.project.namespace();
        let args = ["patch", "penv", &self.name, "--namespace", namespace, "--type=merge", "--patch", &patch];
        kubectl.run(args).unwrap();
    }

    /// Waits until kstatus takes it for current.
    #[track_caller]
    pub fn wait_ready(&self) -> Value {
        self.wait_for("the environment to be ready", |object| kstatus::of(object) == kstatus::Kstatus::Current)
    }

    /// Waits until a condition holds for this reason, and returns the condition's message.
    #[track_caller]
    pub fn wait_condition(&self, name: &str, reason: &str) -> String {
        let what = format!("condition {name} with reason {reason}");
        let holds = |condition: &Value| condition["status"] == "True" && condition["reason"] == reason;
        let object = self.wait_for(&what, |object| condition(object, name).is_some_and(holds));
        condition(&object, name).unwrap()["message"].as_str().unwrap().to_owned()
    }

    /// Waits until a condition gives this reason, whether it holds or not, and returns its message.
    #[track_caller]
    pub fn wait_said(&self, name: &str, reason: &str) -> String {
        let what = format!("condition {name} to say {reason}");
        let says = |condition: &Value| condition["reason"] == reason;
        let object = self.wait_for(&what, |object| condition(object, name).is_some_and(says));
        condition(&object, name).unwrap()["message"].as_str().unwrap().to_owned()
    }

    /// One of its conditions as it is now.
    #[track_caller]
    pub fn condition(&self, name: &str) -> Option<Value> {
        condition(&self.live(), name).cloned()
    }

    /// Waits until it is gone.
    #[track_caller]
    pub fn wait_gone(&self) {
        let watch = self.project.cluster().watch();
        eventually(&format!("the end of {}", self.name), || {
            watch.current(self.project.namespace(), &self.name).is_none().then_some(())
        });
    }

    /// Changes its spec as `kubectl patch --type merge` does, and returns what came of it.
    #[track_caller]
    pub fn edit(&self, spec: &Value) -> Value {
        self.try_edit(spec).unwrap();
        self.live()
    }

    /// As [`Self::edit`], when the API server may refuse.
    pub fn try_edit(&self, spec: &Value) -> devcluster::Result<String> {
        // In a file, since an argument has less room than an environment.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, json!({"spec": spec}).to_string()).unwrap();
        let file = file.path().to_str().unwrap();
        self.project.try_kubectl(&["patch", "penv", &self.name, "--type", "merge", "--patch-file", file])
    }

    /// Changes its spec and waits until that is done.
    #[track_caller]
    pub fn edit_and_wait(&self, spec: &Value) -> Value {
        let generation = self.edit(spec)["metadata"]["generation"].as_i64();
        self.wait_for("the edit to be done", |object| {
            object["metadata"]["generation"].as_i64() >= generation && kstatus::of(object) == kstatus::Kstatus::Current
        })
    }

    /// The planner reports on a revision.
    #[track_caller]
    pub fn report(&self, revision: u64, state: &str, at: &str) {
        let report = json!({"revision": revision, "state": state, "at": at});
        let patch = json!({"status": {"deployment": report}}).to_string();
        let args = ["patch", "penv", &self.name, "--subresource", "status", "--type", "merge", "--patch", &patch];
        self.project.kubectl_of("argocd", &args).unwrap();
    }

    /// The planner reports the newest revision deployed, and that is written down.
    #[track_caller]
    pub fn deployed(&self) {
        let revision = self.live()["status"]["release"]["revision"].as_u64().unwrap();
        self.report(revision, "Succeeded", "2026-01-01T00:00:00Z");
        self.wait_for("the report to be written down", |object| object["status"]["release"]["state"] == "Deployed");
    }

    /// The version that it has.
    #[track_caller]
    pub fn version(&self) -> String {
        self.live()["status"]["release"]["version"].as_str().unwrap().to_owned()
    }

    /// Asks for its deletion.
    #[track_caller]
    pub fn delete(&self) {
        self.project.kubectl(&["delete", "penv", &self.name, "--wait=false"]);
    }

    /// One of the objects in its namespace.
    pub fn child(&self, kind: &str, name: &str) -> Child {
        Child::new(self.project.cluster(), &self.namespace(), kind, name)
    }

    /// Its namespace, as an object.
    pub fn namespace_object(&self) -> Child {
        self.child("namespace", &self.namespace())
    }

    /// All objects of a kind in its namespace that carry its mark.
    #[track_caller]
    pub fn children(&self, kind: &str) -> Vec<Value> {
        self.project.cluster().list(kind, &self.namespace(), "platform.puraify.app/environment-uid")
    }

    /// The data of its `ConfigMap` `release`.
    #[track_caller]
    pub fn release(&self) -> Value {
        self.child("configmap", "release").live()["data"].take()
    }

    /// The variables that its applications see now.
    #[track_caller]
    pub fn variables(&self) -> Value {
        let name = self.release()["variables"].as_str().unwrap().to_owned();
        match self.child("configmap", &name).live()["data"].take() {
            Value::Null => json!({}),
            data => data,
        }
    }

    /// The flags that its applications see now, as flagd reads them.
    #[track_caller]
    pub fn flags(&self) -> Value {
        let name = self.release()["flags"].as_str().unwrap().to_owned();
        let data = self.child("configmap", &name).live()["data"].take();
        serde_json::from_str(data["flags.json"].as_str().unwrap()).unwrap()
    }

    /// Its history, from the first record to the newest.
    #[track_caller]
    pub fn history(&self) -> Vec<EnvironmentRevisionSpec> {
        let label = format!("platform.puraify.app/environment={}", self.name);
        let revisions = self.project.cluster().list("erev", self.project.namespace(), &label);
        let spec = |mut revision: Value| serde_json::from_value(revision["spec"].take()).unwrap();
        let mut history: Vec<EnvironmentRevisionSpec> = revisions.into_iter().map(spec).collect();
        history.sort_by_key(|record| record.revision);
        history
    }

    /// Checks that the chain of its history is whole, over what is stored.
    pub fn verify_history(&self) -> Result<(), Broken> {
        let label = format!("platform.puraify.app/environment={}", self.name);
        let revisions = self.project.cluster().list("erev", self.project.namespace(), &label);
        let stored: Vec<Value> = revisions.into_iter().map(|mut revision| revision["spec"].take()).collect();
        chain::verify(&stored)
    }

    /// What its events say: reason and note.
    #[track_caller]
    pub fn events(&self) -> Vec<(String, String)> {
        let events = self.project.cluster().list("event", self.project.namespace(), "");
        let ours = events.into_iter().filter(|event| event["regarding"]["name"] == self.name.as_str());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ours.map(|event| (text(&event["reason"]), text(&event["note"]))).collect()
    }

    /// Waits for an event with this reason and these words in its note.
    #[track_caller]
    pub fn wait_event(&self, reason: &str, words: &[&str]) -> String {
        let what = format!("event {reason} that says {words:?}");
        eventually(&what, || {
            let told = |(told, note): &(String, String)| told == reason && words.iter().all(|word| note.contains(word));
            self.events().into_iter().find(told).map(|(_, note)| note)
        })
    }
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == name)
}
