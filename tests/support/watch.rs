//! Every state of every object of a kind, as `kubectl get --watch` tells it.

use std::{
    collections::HashMap,
    io::BufReader,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use devcluster::Kubectl;
use serde_json::{Deserializer, Value};

/// Namespace and name.
type Key = (String, String);

/// What became known, in order. It ends with the control plane.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<HashMap<Key, Vec<State>>>>);

/// A state of an object.
#[derive(Clone, Debug)]
pub struct State {
    /// Whether this was its last one.
    pub deleted: bool,
    /// The object.
    pub object: Value,
}

impl Watch {
    /// Begins to watch a kind. A watch that ends, as when the definition of the kind is changed, is followed by another.
    pub fn start(kubectl: &Kubectl, kind: &'static str) -> Self {
        let watch = Self::default();
        let (seen, kubectl) = (watch.clone(), kubectl.clone());
        thread::spawn(move || while seen.follow(&kubectl, kind).is_ok() {});
        watch
    }

    fn follow(&self, kubectl: &Kubectl, kind: &str) -> std::io::Result<()> {
        let args = ["get", kind, "--all-namespaces", "--watch", "--output-watch-events", "--output", "json"];
        let mut command = kubectl.command(args);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        if let Some(output) = process.stdout.take() {
            let events = Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
            events.map_while(Result::ok).for_each(|event| self.add(event));
        }
        process.kill()?;
        process.wait().map(drop)
    }

    fn add(&self, mut event: Value) {
        let object = event["object"].take();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (text("namespace"), text("name"));
        let state = State { deleted: event["type"] == "DELETED", object };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().push(state);
    }

    /// All states of one object.
    pub fn states(&self, namespace: &str, name: &str) -> Vec<State> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned().unwrap_or_default()
    }

    /// The object as it is now, if it is there.
    pub fn current(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = (namespace.to_owned(), name.to_owned());
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&key)?.last().filter(|state| !state.deleted).map(|state| state.object.clone())
    }

    /// All states of all objects of a project.
    pub fn states_in(&self, namespace: &str) -> Vec<State> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_project = all.iter().filter(|((project, _), _)| project == namespace);
        of_project.flat_map(|(_, states)| states.clone()).collect()
    }
}
