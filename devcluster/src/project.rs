//! One test's own namespace.

use serde_json::json;

use crate::{ControlPlane, Result, progress::say};

/// The label that says to which project a namespace belongs.
const PROJECT_LABEL: &str = "platform.puraify.app/project-id";

/// A project namespace that no other test of the process uses. Made by [`ControlPlane::project`].
///
/// When it is dropped by a panic, as when an assertion fails, the control plane's logs are kept and the person is told
/// where they are. Otherwise nothing is done: the namespace ends with the control plane.
#[derive(Debug)]
pub struct Project<'cluster> {
    cluster: &'cluster ControlPlane,
    id: String,
    namespace: String,
}

impl<'cluster> Project<'cluster> {
    pub(crate) fn create(cluster: &'cluster ControlPlane, id: &str, namespace: String) -> Result<Self> {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": &namespace, "labels": { PROJECT_LABEL: id } },
        });
        cluster.kubectl().create(&manifest.to_string())?;
        Ok(Self { cluster, id: id.to_owned(), namespace })
    }

    /// The project's id, as in the namespace's label.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The namespace's name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The control plane that it is in.
    #[must_use]
    pub fn cluster(&self) -> &'cluster ControlPlane {
        self.cluster
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.keep_logs();
            let directory = self.cluster.dir().display();
            say(&format!("project {} failed in namespace {}; the logs stay in {directory}", self.id, self.namespace));
        }
    }
}
