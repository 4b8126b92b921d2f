//! The control plane with our kinds and the operator's rights, and environments in it.

use std::{fmt::Debug, path::PathBuf};

use devcluster::{ControlPlane, Options};
use environment_manager::{
    api::{ConditionStatus, PlatformEnvironment, condition::READY},
    kube_ext::client::{ClusterAccess, connect},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client, Config, Resource,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Result;

/// The operator, as the API server knows it.
pub const OPERATOR_USER: &str = "system:serviceaccount:environment-manager:environment-manager";

/// The release, its namespace, and the name of everything in it.
pub const NAME: &str = "environment-manager";

/// How the operator's program calls itself in its requests.
pub const OPERATOR_AGENT: &str = "environment-manager/";

/// The operator's program, built with the profile `bench`, which is `release`.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_environment-manager");

/// A control plane that is ready for operator and twin.
pub struct Cluster {
    pub plane: ControlPlane,
    pub operator_kubeconfig: PathBuf,
}

impl Cluster {
    pub fn start() -> Result<Self> {
        let plane = ControlPlane::start(&Options { name: "bench".to_owned(), ..Options::default() })?;
        let install = ["install", NAME, "charts/environment-manager", "--namespace", NAME, "--create-namespace"];
        plane.helm()?.run(install)?;
        let kinds = ["wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=60s"];
        plane.kubectl().run(kinds)?;
        let operator_kubeconfig = plane.service_account_kubeconfig(NAME, NAME)?;
        Ok(Self { plane, operator_kubeconfig })
    }

    /// A client for the one who may do everything.
    pub async fn admin(&self) -> Result<Client> {
        let access = ClusterAccess { kubeconfig: Some(self.plane.kubeconfig_for_admin()), context: None };
        Ok(connect(&access, std::sync::Arc::default()).await?)
    }

    /// A client of kube's own making, as the operator's `ServiceAccount`: only it may make the operator's writes. The audit log
    /// tells the two by the name of the program. Each starts without connections.
    pub async fn twin(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.operator_kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// A namespace for a project.
    pub fn create_project(&self, project: &str) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": project}});
        self.plane.kubectl().create(&namespace.to_string())?;
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

fn is_ready(environment: &PlatformEnvironment) -> bool {
    let Some(status) = &environment.status else { return false };
    let ready = status.conditions.iter().find(|condition| condition.r#type == READY);
    status.observed_generation == environment.metadata.generation
        && ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}

/// Creates all of these objects, several at a time.
pub async fn create_all<K>(client: &Client, objects: Vec<K>) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
{
    let create = |object: K| {
        let api: Api<K> = Api::namespaced(client.clone(), object.meta().namespace.as_deref().unwrap_or_default());
        // A task each, so that both processors encrypt.
        tokio::spawn(async move { api.create(&PostParams::default(), &object).await.map(drop) })
    };
    stream::iter(objects)
        .map(create)
        .buffer_unordered(16)
        .map(|created| created.map_err(Into::into).and_then(|created| created.map_err(Into::into)))
        .try_for_each(|()| async { Result::Ok(()) })
        .await
}

/// One of our kinds, from its JSON.
pub fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap_or_else(|error| unreachable!("it is one of our kinds: {error}"))
}
