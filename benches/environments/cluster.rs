//! The control plane with our kinds and the operator's rights, and environments in it.

use std::path::PathBuf;

use devcluster::{ControlPlane, Options};
use environment_manager::{
    api::{ConditionStatus, PlatformEnvironment, condition::READY, crds_yaml},
    kube_ext::client::{ClusterAccess, connect},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;

use crate::report::Result;

/// The operator, as the API server knows it.
pub const OPERATOR_USER: &str = "system:serviceaccount:environment-manager:environment-manager";

/// The operator's program, built with the profile `bench`, which is `release`.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_environment-manager");

/// The twin has the operator's rights, but a name of its own.
const TWIN: &str = r#"
{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "twin", "namespace": "environment-manager"}}
---
{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "twin"},
 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "environment-manager"},
 "subjects": [{"kind": "ServiceAccount", "name": "twin", "namespace": "environment-manager"}]}
"#;

/// A control plane that is ready for operator and twin.
pub struct Cluster {
    pub plane: ControlPlane,
    pub operator_kubeconfig: PathBuf,
    pub twin_kubeconfig: PathBuf,
}

impl Cluster {
    pub fn start() -> Result<Self> {
        let plane = ControlPlane::start(&Options { name: "bench".to_owned(), ..Options::default() })?;
        let kubectl = plane.kubectl();
        kubectl.apply(&crds_yaml())?;
        let rights = std::process::Command::new(PROGRAM).arg("rbac").output()?;
        kubectl.apply(&String::from_utf8(rights.stdout)?)?;
        kubectl.apply(TWIN)?;
        kubectl.run(["wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=60s"])?;
        let operator_kubeconfig = plane.service_account_kubeconfig("environment-manager", "environment-manager")?;
        let twin_kubeconfig = plane.service_account_kubeconfig("environment-manager", "twin")?;
        Ok(Self { plane, operator_kubeconfig, twin_kubeconfig })
    }

    /// A client for the one who may do everything.
    pub async fn admin(&self) -> Result<Client> {
        let access = ClusterAccess { kubeconfig: Some(self.plane.kubeconfig_for_admin()), context: None };
        Ok(connect(&access, std::sync::Arc::default()).await?)
    }

    /// Environments `e-0`, `e-1`, … of a new project.
    pub async fn create_environments(&self, client: &Client, project: &str, count: usize) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": project}});
        self.plane.kubectl().create(&namespace.to_string())?;
        let api: Api<PlatformEnvironment> = Api::namespaced(client.clone(), project);
        stream::iter(0..count)
            .map(|number| {
                let api = api.clone();
                async move { api.create(&PostParams::default(), &environment(number)).await }
            })
            .buffer_unordered(16)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        Ok(())
    }

    /// Checks that all environments of a project are Ready as they are now.
    pub async fn expect_ready(&self, client: &Client, project: &str, count: usize) -> Result<()> {
        let api: Api<PlatformEnvironment> = Api::namespaced(client.clone(), project);
        let ready = api.list(&ListParams::default()).await?.items.iter().filter(|found| is_ready(found)).count();
        if ready == count {
            Ok(())
        } else {
            Err(format!("{ready} of {count} environments in {project} are Ready").into())
        }
    }
}

/// A typical one: some variables, a secret, two flags.
fn environment(number: usize) -> PlatformEnvironment {
    let environment = json!({
        "apiVersion": "platform.puraify.app/v1alpha1",
        "kind": "PlatformEnvironment",
        "metadata": {"name": format!("e-{number}")},
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
    });
    serde_json::from_value(environment).unwrap_or_else(|error| unreachable!("it is one of our kind: {error}"))
}

fn is_ready(environment: &PlatformEnvironment) -> bool {
    let Some(status) = &environment.status else { return false };
    let ready = status.conditions.iter().find(|condition| condition.r#type == READY);
    status.observed_generation == environment.metadata.generation
        && ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}
