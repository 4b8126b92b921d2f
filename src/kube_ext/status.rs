//! Writing the status of one of our own kinds.

use std::fmt::Debug;

use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::key::ObjectKey;
use crate::api::FIELD_MANAGER;

/// Applies the status by server-side apply and gives back the object as it is now; `None` if it is gone, or is another
/// one of the same name by now: a status is never given to that one.
pub async fn apply<K>(
    client: &Client,
    key: &ObjectKey,
    uid: Option<&str>,
    status: &impl Serialize,
) -> kube::Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    send(client, key, &json!({"name": &*key.name, "uid": uid}), status).await
}

/// The same, over exactly this state of the object: `None` also if anything of it has changed since. Two operators may be
/// at work, and the one that knows less must not write over what the other one found out.
pub async fn apply_over<K>(
    client: &Client,
    key: &ObjectKey,
    seen: &K,
    status: &impl Serialize,
) -> kube::Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (uid, version) = (&seen.meta().uid, &seen.meta().resource_version);
    send(client, key, &json!({"name": &*key.name, "uid": uid, "resourceVersion": version}), status).await
}

async fn send<K>(client: &Client, key: &ObjectKey, metadata: &Value, status: &impl Serialize) -> kube::Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    });
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    match api.patch_status(&key.name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(body)).await {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}
