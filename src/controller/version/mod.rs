//! The version controller: says what a version's digest is, and that it can be used.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
};
use serde_json::json;

use super::{
    error::ReconcileError,
    run_loop::{Next, Reconciler},
};
use crate::{
    api::{
        Condition, ConditionStatus, Digest, FIELD_MANAGER, GROUP, PlatformVersion, PlatformVersionStatus, VERSION,
        condition::{READY, Reason},
        revision::VersionReference,
    },
    domain::version,
    kube_ext::{
        cache::{Cache, Record},
        key::ObjectKey,
    },
};

/// What is kept of a version: its digest and status, not its content.
#[derive(Clone, Debug)]
pub struct VersionRecord(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    reference: VersionReference,
    uid: Option<String>,
    generation: Option<i64>,
    status: PlatformVersionStatus,
}

impl VersionRecord {
    /// The version, bound to its content.
    #[must_use]
    pub fn reference(&self) -> &VersionReference {
        &self.0.reference
    }
}

impl Record for VersionRecord {
    type Object = DeserializeGuard<PlatformVersion>;

    fn from_object(object: Self::Object) -> Option<Self> {
        let version = object.0.ok()?;
        Some(Self(Arc::new(Kept {
            reference: VersionReference { name: version.spec.version.clone(), digest: version::digest(&version.spec) },
            uid: version.metadata.uid,
            generation: version.metadata.generation,
            status: version.status.unwrap_or_default(),
        })))
    }
}

/// Reconciles versions.
pub struct VersionController {
    client: Client,
    versions: Cache<VersionRecord>,
}

impl VersionController {
    /// A controller over this cache.
    #[must_use]
    pub fn new(client: Client, versions: Cache<VersionRecord>) -> Self {
        Self { client, versions }
    }
}

impl Reconciler for VersionController {
    const KIND: &'static str = "PlatformVersion";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(VersionRecord(version)) = self.versions.get(key) else { return Ok(Next::AwaitChange) };
        let status = status(&version.reference.digest, version.generation, &version.status, Timestamp::now());
        if status == version.status {
            return Ok(Next::AwaitChange);
        }
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": Self::KIND,
            "metadata": {"name": &*key.name, "uid": version.uid},
            "status": status,
        });
        let api: Api<PlatformVersion> = Api::namespaced(self.client.clone(), &key.namespace);
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&key.name, &apply, &Patch::Apply(body)).await {
            Ok(written) => self.versions.written(DeserializeGuard(Ok(written))),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => {
                return Err(ReconcileError::kubernetes(format!("write the status of PlatformVersion {key}"))(error));
            }
        }
        Ok(Next::AwaitChange)
    }

    fn generation(&self, key: &ObjectKey) -> Option<i64> {
        self.versions.get(key)?.0.generation
    }
}

/// The status of a version with this digest.
fn status(
    digest: &Digest,
    generation: Option<i64>,
    old: &PlatformVersionStatus,
    now: Timestamp,
) -> PlatformVersionStatus {
    let was_ready = old.conditions.iter().find(|found| found.r#type == READY && found.status == ConditionStatus::True);
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    PlatformVersionStatus {
        observed_generation: generation,
        digest: Some(*digest),
        conditions: vec![Condition {
            r#type: READY.to_owned(),
            status: ConditionStatus::True,
            observed_generation: generation,
            last_transition_time: was_ready.map_or(now, |ready| ready.last_transition_time),
            reason: Reason::AsIntended.as_str().to_owned(),
            message: "The version can be used".to_owned(),
        }],
    }
}
