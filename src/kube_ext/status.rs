//! Writing the status of one of our own kinds.

use std::fmt::Debug;

use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::{NamespaceResourceScope, ObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::key::ObjectKey;
use crate::{api::FIELD_MANAGER, domain::our_part::OurPart};

/// What a status is written over. With less than this a status could be given to another object of the same name.
#[derive(Clone, Copy, Debug)]
pub enum Over<'a> {
    /// This incarnation of the object, whatever has become of it: what is written depends on nothing in its status.
    Incarnation(Option<&'a str>),
    /// Exactly this state of the object. Two operators may be at work, and the one that knows less must not write over what
    /// the other one found out.
    State(&'a ObjectMeta),
}

impl Over<'_> {
    fn metadata(self, key: &ObjectKey) -> Value {
        match self {
            Self::Incarnation(uid) => json!({"name": &*key.name, "uid": uid}),
            Self::State(seen) => {
                json!({"name": &*key.name, "uid": seen.uid, "resourceVersion": seen.resource_version})
            }
        }
    }
}

/// Makes our part of an object's status as intended, by server-side apply, and takes out what others put there. Gives back
/// the object as it is now; `None` if it is not any more what the status is for.
pub async fn report<K>(
    client: &Client,
    key: &ObjectKey,
    over: Over<'_>,
    status: &impl Serialize,
    ours: OurPart,
) -> kube::Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let Some(written) = apply::<K>(client, key, over, status).await? else { return Ok(None) };
    match ours.correction(&json!(written)["status"], &json!(status)) {
        None => Ok(Some(written)),
        Some(correction) => Ok(Some(correct(client, key, &written, &correction).await?.unwrap_or(written))),
    }
}

/// Applies a status of which all is ours.
pub async fn apply<K>(
    client: &Client,
    key: &ObjectKey,
    over: Over<'_>,
    status: &impl Serialize,
) -> kube::Result<Option<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": over.metadata(key),
        "status": status,
    });
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    unless_moved(api.patch_status(&key.name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(body)).await)
}

/// With the resourceVersion: the patch gives all conditions, and must not undo what others wrote since. Their write then
/// leads to the next reconcile.
async fn correct<K>(client: &Client, key: &ObjectKey, written: &K, correction: &Value) -> kube::Result<Option<K>>
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
