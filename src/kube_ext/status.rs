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
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": &*key.name, "uid": uid},
        "status": status,
    });
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    unless_moved(api.patch_status(&key.name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(body)).await)
}

/// Takes out of our part of the status what an apply leaves in: what others own there. `written` is the object as it was
/// when the correction was worked out, and nothing else is corrected: the patch may give whole lists, and must not undo what
/// others wrote since. Their write then leads to the next reconcile. `None` if the object is another one by now.
pub async fn correct<K>(client: &Client, key: &ObjectKey, written: &K, correction: &Value) -> kube::Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let metadata = json!({"uid": written.meta().uid, "resourceVersion": written.meta().resource_version});
    let patch = Patch::Merge(json!({"metadata": metadata, "status": correction}));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    unless_moved(api.patch_status(&key.name, &params, &patch).await)
}

/// An object that is gone, or another one by now, is no error: the watch brings it.
fn unless_moved<K>(result: kube::Result<K>) -> kube::Result<Option<K>> {
    match result {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(None),
        Err(error) => Err(error),
    }
}
