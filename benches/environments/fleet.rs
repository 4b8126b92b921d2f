//! The environments that are made.

use environment_manager::api::PlatformEnvironment;
use kube::Client;
use serde_json::json;

use crate::support::{
    Result,
    cluster::{self, Cluster},
};

/// Environments `e-0`, `e-1`, … of a new project.
pub async fn create(cluster: &Cluster, client: &Client, project: &str, count: usize) -> Result<()> {
    cluster.create_project(project)?;
    cluster::create_all(client, (0..count).map(|number| environment(project, number)).collect()).await
}

/// A typical one: some variables, a secret, two flags.
fn environment(project: &str, number: usize) -> PlatformEnvironment {
    cluster::object(json!({
        "apiVersion": "platform.puraify.app/v1alpha1",
        "kind": "PlatformEnvironment",
        "metadata": {"name": format!("e-{number}"), "namespace": project},
        "spec": {
            "class": "Development",
            "config": {
                "variables": [
                    {"name": "BASE_URL", "value": format!("https://e-{number}.shop.example")},
                    {"name": "PAYMENT_PROVIDER", "value": "sandbox"},
                    {"name": "LOG_LEVEL", "value": "info"},
                    {"name": "API_KEY", "vault": {"path": "payments", "key": "api_key"}},
                ],
                "flags": [{"name": "BETA_FORM", "enabled": true}, {"name": "NEW_CHECKOUT", "enabled": false}],
            },
        },
    }))
}
