//! The version controller: says what a version is, whether it is validated and where it is, and keeps it while a revision
//! names it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
};
use serde_json::json;

use super::{
    diffs::Diffs,
    error::ReconcileError,
    run_loop::{Next, Reconciler, Trigger},
    world::{Uses, World},
};
use crate::{
    api::{
        FIELD_MANAGER, PlatformVersion, PlatformVersionStatus, VERSION_FINALIZER,
        revision::{CategoryChanges, VersionReference},
    },
    domain::{
        promotion::snapshot::VersionView,
        version::{self, status::Facts},
    },
    kube_ext::{
        cache::{Decoded, Record},
        interest::Interests,
        key::ObjectKey,
        status::{self, Over},
    },
};

/// What becomes of a version's environments is told with this delay: a version that comes into a hundred environments
/// one after the other is told of a few times, not a hundred. Nothing waits for it: it is for people.
const CALM: Duration = Duration::from_secs(2);

/// When to look again at what has changed meanwhile, if nothing tells.
const SOON: Duration = Duration::from_millis(100);

/// What is kept of a version: all but its content.
#[derive(Clone, Debug)]
pub struct VersionRecord(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    view: VersionView,
    parent: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    finalizers: Vec<String>,
    status: PlatformVersionStatus,
}

impl VersionRecord {
    /// The version, bound to its content.
    #[must_use]
    pub fn reference(&self) -> &VersionReference {
        &self.0.view.reference
    }

    /// The version, as a promotion sees it.
    #[must_use]
    pub fn view(&self) -> &VersionView {
        &self.0.view
    }
}

impl Record for VersionRecord {
    type Object = DeserializeGuard<PlatformVersion>;

    fn from_object(object: Self::Object) -> Option<Self> {
        let version = object.0.ok()?;
        let status = version.status.unwrap_or_default();
        let digest = version::digest(&version.spec);
        Some(Self(Arc::new(Kept {
            view: VersionView {
                reference: VersionReference { name: version.spec.version, digest },
                requires: version.spec.requires,
                validations: status.validations.clone(),
                terminating: version.metadata.deletion_timestamp.is_some(),
            },
            parent: version.spec.parent,
            uid: version.metadata.uid,
            resource_version: version.metadata.resource_version,
            generation: version.metadata.generation,
            finalizers: version.metadata.finalizers.unwrap_or_default(),
            status,
        })))
    }
}

/// Reconciles versions.
pub struct VersionController {
    client: Client,
    world: Arc<World>,
    diffs: Arc<Diffs>,
    /// Versions by their parent.
    children: Arc<Interests<ObjectKey>>,
}

impl VersionController {
    /// A controller over these caches. `trigger` is put on everything that concerns a version: call this before the caches
    /// are filled.
    #[must_use]
    pub fn new(client: Client, world: Arc<World>, diffs: Arc<Diffs>, trigger: &Trigger) -> Self {
        let children = Arc::new(Interests::default());
        subscribe(&world, trigger, &children);
        Self { client, world, diffs, children }
    }

    /// A version stays while a revision names it: without its content nobody could go back to that revision.
    async fn hold(&self, key: &ObjectKey, version: &Kept, held: bool) -> Result<(), ReconcileError> {
        let others = version.finalizers.iter().filter(|finalizer| *finalizer != VERSION_FINALIZER);
        let finalizers: Vec<&str> = others.map(String::as_str).chain(held.then_some(VERSION_FINALIZER)).collect();
        let patch = json!({"metadata": {"finalizers": finalizers, "uid": version.uid, "resourceVersion": version.resource_version}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api: Api<PlatformVersion> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.patch(&key.name, &params, &Patch::Merge(patch)).await {
            Ok(written) if written.metadata.deletion_timestamp.is_none() || !finalizers.is_empty() => {
                self.world.versions.written(DeserializeGuard(Ok(written)));
            }
            Ok(_) => {
                let uid = version.uid.as_deref().unwrap_or_default().into();
                self.world.versions.remove_written(key, &uid);
            }
            // It changed meanwhile.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                let action = format!("read PlatformVersion {key}");
                let uid = version.uid.as_deref().unwrap_or_default().into();
                match api.get_opt(&key.name).await.map_err(ReconcileError::kubernetes(action))? {
                    Some(live) => self.world.versions.written(DeserializeGuard(Ok(live))),
                    None => self.world.versions.remove_written(key, &uid),
                }
            }
            Err(error) => {
                return Err(ReconcileError::kubernetes(format!("write the finalizers of PlatformVersion {key}"))(
                    error,
                ));
            }
        }
        Ok(())
    }

    /// What changed from the parent; `None` while there is none. What was found once stays found: both are immutable.
    async fn diff(
        &self,
        key: &ObjectKey,
        version: &Kept,
    ) -> Result<Option<std::collections::BTreeMap<String, CategoryChanges>>, ReconcileError> {
        let parent = version.parent.as_ref().map(|name| ObjectKey::new(key.namespace.clone(), name.as_str()));
        self.children.set(key, parent.iter().cloned().collect());
        let Some(parent) = parent else { return Ok(None) };
        if version.status.diff.is_some() && version.status.digest == Some(version.view.reference.digest) {
            return Ok(version.status.diff.clone());
        }
        let Some(parent) = self.world.versions.get(&parent) else { return Ok(None) };
        self.diffs.between(&self.client, &key.namespace, Some(parent.reference()), &version.view.reference).await
    }

    /// The validations that some environment of the project demands.
    fn demanded(&self, project: &str) -> BTreeSet<String> {
        let mut demanded = BTreeSet::new();
        self.world.environments.for_each_in(project, |_, held| {
            if let Decoded::Valid(environment) = &held.value {
                let rules = environment.spec.promotion.iter();
                demanded.extend(rules.flat_map(|rules| rules.validations.iter().cloned()));
            }
        });
        demanded
    }
}

impl Reconciler for VersionController {
    const KIND: &'static str = "PlatformVersion";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(VersionRecord(version)) = self.world.versions.get(key) else {
            self.children.set(key, BTreeSet::new());
            return Ok(Next::AwaitChange);
        };
        let Uses { environments, revisions } = self.world.uses(key);
        let terminating = version.view.terminating;
        let held = version.finalizers.iter().any(|finalizer| finalizer == VERSION_FINALIZER);
        let needed = !terminating || !revisions.is_empty();
        // A finalizer cannot be added to what is being deleted already.
        if held != needed && (held || !terminating) {
            self.hold(key, &version, needed).await?;
            return Ok(Next::After(SOON));
        }
        let facts = Facts {
            generation: version.generation,
            terminating,
            digest: version.view.reference.digest,
            parent: version.parent.as_deref(),
            diff: self.diff(key, &version).await?,
            demanded: self.demanded(&key.namespace),
            environments,
            revisions,
            old: &version.status,
            now: Timestamp::now(),
        };
        let (report, wake) = version::status::report(&facts);
        if report != version::status::ours(&version.status) {
            let over = Over::Incarnation(version.uid.as_deref());
            let ours = version::status::OURS;
            let written = status::report::<PlatformVersion>(&self.client, key, over, &report, ours).await;
            let action = format!("write the status of PlatformVersion {key}");
            if let Some(written) = written.map_err(ReconcileError::kubernetes(action))? {
                self.world.versions.written(DeserializeGuard(Ok(written)));
            }
        }
        Ok(Next::wake(wake, facts.now))
    }

    fn generation(&self, key: &ObjectKey) -> Option<i64> {
        self.world.versions.get(key)?.0.generation
    }
}

/// Puts versions into the queue when something that concerns them changes.
fn subscribe(world: &Arc<World>, trigger: &Trigger, children: &Arc<Interests<ObjectKey>>) {
    let (wake, by_parent) = (trigger.clone(), children.clone());
    world.versions.subscribe(move |key, old, new| {
        wake.now(key.clone());
        // A parent that is there now, and was not, or the other way round.
        if old.is_some() != new.is_some() {
            by_parent.in_thing(key).into_iter().for_each(|child| wake.now(child));
        }
    });
    let (wake, caches) = (trigger.clone(), Arc::downgrade(world));
    world.revisions.subscribe(move |key, old, new| {
        let Some(caches) = caches.upgrade() else { return };
        let Some(environment) = super::world::environment_of_revision(key) else { return };
        let entries = old.into_iter().chain(new);
        let mut versions: BTreeSet<ObjectKey> = entries.filter_map(|entry| entry.version_in(&key.namespace)).collect();
        versions.extend(caches.newest_versions(&environment));
        for version in versions {
            wake.after(version, CALM);
        }
    });
    let (wake, versions) = (trigger.clone(), world.versions.clone());
    world.environments.subscribe(move |key, old, new| {
        let demands = |decoded: Option<&Decoded<crate::api::PlatformEnvironment>>| match decoded {
            Some(Decoded::Valid(environment)) => {
                environment.spec.promotion.as_ref().map(|rules| rules.validations.clone()).unwrap_or_default()
            }
            _ => vec![],
        };
        if demands(old) != demands(new) {
            versions.for_each_in(&key.namespace, |version, _| wake.after(version.clone(), CALM));
        }
    });
}
