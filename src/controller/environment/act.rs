//! Carries a plan's actions out, and puts what each write returned into the caches.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use either::Either;
use futures::{StreamExt as _, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::{ObjectMeta, PartialObjectMeta, PartialObjectMetaExt as _},
};
use serde_json::json;

use crate::{
    api::{
        ANNOTATION_RETAINED, EnvironmentRevision, FIELD_MANAGER, FINALIZER, LABEL_ENVIRONMENT_UID, PlatformEnvironment,
        condition::Reason,
    },
    controller::{
        error::ReconcileError,
        world::{Tracked, World, resource},
    },
    domain::environment::{
        children::{ChildId, ChildKind, Intent},
        ownership::OwnedFields,
        plan::Action,
        snapshot::{Child, Difference, Failure},
    },
    kube_ext::{
        errors::{describe, is_final},
        key::{ObjectKey, Uid},
    },
};

mod history;

/// No object ever has this resourceVersion: etcd's first revision holds none. A server-side apply that names it makes
/// an object that is not there, and is a conflict with one that is: it never adopts.
const NEVER: &str = "1";

/// How many writes of one environment are under way at once. Each takes a connection with its buffers, here and in the
/// API server: with no bound, many environments at once take hundreds, and are no faster.
const AT_A_TIME: usize = 4;

/// The environment that actions are for.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The environment.
    pub environment: &'a PlatformEnvironment,
    /// Its project and name.
    pub key: &'a ObjectKey,
    /// Its namespace.
    pub namespace: &'a str,
}

impl Subject<'_> {
    fn uid(&self) -> &str {
        self.environment.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// What became of one action.
enum Outcome {
    Done,
    /// The world is not as the plan took it; the caches know better now.
    Replan,
    /// The child is there, and ours, although the cache has none: somebody took off the label by which it is watched.
    Found(Child),
    Failed(Failure),
}

/// What became of all actions.
#[derive(Debug, Default)]
pub struct Acted {
    /// For each action, in their order, whether it was done as planned.
    pub done: Vec<bool>,
    /// Children that no cache shows.
    pub found: Vec<Child>,
    /// What did not succeed and will not pass by itself.
    pub failures: Vec<Failure>,
    /// An error that will pass. One of them stands for all.
    pub passing: Option<ReconcileError>,
}

/// Carries out actions.
pub struct Executor {
    client: Client,
    /// What the API server says we own, where that is not what [`OwnedFields::of_body`] foretells.
    learned: Mutex<HashMap<OwnedFields, OwnedFields>>,
}

impl Executor {
    /// An executor that writes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, learned: Mutex::default() }
    }

    /// The client that it writes through.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The ownership that was foretold where the API server says this.
    #[must_use]
    pub fn foretold(&self, actual: OwnedFields) -> OwnedFields {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.get(&actual).copied().unwrap_or(actual)
    }

    /// Carries out all actions, [`AT_A_TIME`] of them at once.
    pub async fn act(&self, world: &World, subject: Subject<'_>, actions: &[Action]) -> Acted {
        let writes: Vec<_> = actions.iter().map(|action| self.one(world, subject, action)).collect();
        let outcomes: Vec<_> = stream::iter(writes).buffered(AT_A_TIME).collect().await;
        let mut acted = Acted::default();
        for outcome in outcomes {
            acted.done.push(matches!(outcome, Ok(Outcome::Done)));
            match outcome {
                Ok(Outcome::Done | Outcome::Replan) => {}
                Ok(Outcome::Found(child)) => acted.found.push(child),
                Ok(Outcome::Failed(failure)) => acted.failures.push(failure),
                Err(error) => acted.passing = Some(error),
            }
        }
        acted
    }

    async fn one(&self, world: &World, subject: Subject<'_>, action: &Action) -> Result<Outcome, ReconcileError> {
        match action {
            Action::AddFinalizer => self.set_finalizers(world, subject, true).await,
            Action::RemoveFinalizer => self.set_finalizers(world, subject, false).await,
            Action::DeleteEnvironment => self.delete_environment(world, subject).await,
            Action::Apply(intent, difference) => self.apply(world, subject, intent, difference).await,
            Action::Delete(child, uid) => self.delete(world, subject, child, uid).await,
            Action::RetainNamespace(uid) => self.retain(world, subject, uid).await,
            Action::CreateRevision(record) => self.create_revision(world, subject, record).await,
            Action::DeleteRevisions => self.delete_revisions(world, subject, |_| true).await,
            Action::PruneRevisions(numbers) => {
                self.delete_revisions(world, subject, |number| numbers.contains(&number)).await
            }
            Action::RecordOutcome(number, outcome) => self.record_outcome(world, subject, *number, outcome).await,
            Action::CreatePromotion(promotion) => self.create_promotion(world, subject, promotion).await,
        }
    }

    fn environments(&self, key: &ObjectKey) -> Api<PlatformEnvironment> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn revisions(&self, key: &ObjectKey) -> Api<EnvironmentRevision> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    fn children(&self, kind: ChildKind, namespace: &str) -> Api<DynamicObject> {
        match kind {
            ChildKind::Namespace => Api::all_with(self.client.clone(), &resource(kind)),
            _ => Api::namespaced_with(self.client.clone(), namespace, &resource(kind)),
        }
    }

    /// With the resourceVersion, so that nobody's finalizer is lost.
    async fn set_finalizers(&self, world: &World, subject: Subject<'_>, ours: bool) -> Result<Outcome, ReconcileError> {
        let metadata = &subject.environment.metadata;
        let mut finalizers: Vec<&str> =
            metadata.finalizers.iter().flatten().map(String::as_str).filter(|other| *other != FINALIZER).collect();
        let last = finalizers.is_empty() && !ours;
        if ours {
            finalizers.push(FINALIZER);
        }
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": metadata.resource_version}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.environments(subject.key).patch(&subject.key.name, &params, &Patch::Merge(patch)).await {
            Ok(_) if last => world.environments.remove_written(subject.key, &subject.uid().into()),
            Ok(environment) => world.environments.written_object(environment),
            Err(error) => return self.environment_moved(world, subject, "write the finalizers of", error).await,
        }
        Ok(Outcome::Done)
    }

    /// With the resourceVersion: a ttl that was raised at the last moment counts.
    async fn delete_environment(&self, world: &World, subject: Subject<'_>) -> Result<Outcome, ReconcileError> {
        let metadata = &subject.environment.metadata;
        let preconditions =
            Preconditions { uid: metadata.uid.clone(), resource_version: metadata.resource_version.clone() };
        let params = DeleteParams::default().preconditions(preconditions);
        match self.environments(subject.key).delete(&subject.key.name, &params).await {
            Ok(Either::Left(environment)) => world.environments.written_object(environment),
            Ok(Either::Right(_)) => world.environments.remove_written(subject.key, &subject.uid().into()),
            Err(error) => return self.environment_moved(world, subject, "delete", error).await,
        }
        Ok(Outcome::Done)
    }

    /// Somebody changed the environment since it was cached: look at it live.
    async fn environment_moved(
        &self,
        world: &World,
        subject: Subject<'_>,
        what: &str,
        error: kube::Error,
    ) -> Result<Outcome, ReconcileError> {
        let action = format!("{what} PlatformEnvironment {}", subject.key);
        if !is(&error, &[404, 409]) {
            return failed(&format!("PlatformEnvironment {}", subject.key), None, what, error);
        }
        let live = self
            .environments(subject.key)
            .get_opt(&subject.key.name)
            .await
            .map_err(ReconcileError::kubernetes(action))?;
        match live {
            Some(environment) => world.environments.written_object(environment),
            None => world.environments.remove_written(subject.key, &subject.uid().into()),
        }
        Ok(Outcome::Replan)
    }

    /// Makes a child that is not there, or brings one that is ours to its intent; never one that is somebody else's.
    async fn apply(
        &self,
        world: &World,
        subject: Subject<'_>,
        intent: &Intent,
        difference: &Difference,
    ) -> Result<Outcome, ReconcileError> {
        let mut body = intent.body.clone();
        match difference {
            Difference::Missing => body["metadata"]["resourceVersion"] = json!(NEVER),
            Difference::Outdated { uid } | Difference::Changed { uid, .. } => {
                body["metadata"]["uid"] = json!(uid.to_string());
            }
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.children(intent.id.kind, subject.namespace);
        match api.patch_metadata(&intent.id.name, &params, &Patch::Apply(body)).await {
            Ok(written) => {
                self.learn(intent, &written);
                world.applied(intent.id.kind, written);
                Ok(Outcome::Done)
            }
            Err(error) if has_no_namespace(&error) => self.look_at_namespace(world, subject).await,
            Err(error) if is(&error, &[409]) => self.look(world, subject, &intent.id).await,
            Err(error) => failed(&intent.id.to_string(), Some(intent.id.kind), "apply", error),
        }
    }

    /// If the API server counts our fields otherwise than we do, it is right.
    fn learn(&self, intent: &Intent, written: &PartialObjectMeta<DynamicObject>) {
        let actual = Tracked::of(&written.metadata).and_then(|tracked| tracked.owned());
        if let Some(actual) = actual.filter(|actual| *actual != intent.owned) {
            tracing::debug!(child = %intent.id, "the API server counts the fields of this kind otherwise than foretold");
            self.learned.lock().unwrap_or_else(PoisonError::into_inner).insert(actual, intent.owned);
        }
    }

    /// Looks at a child live, because a write met another state than the cache's.
    async fn look(&self, world: &World, subject: Subject<'_>, id: &ChildId) -> Result<Outcome, ReconcileError> {
        let api = self.children(id.kind, subject.namespace);
        let live = api.get_metadata_opt(&id.name).await.map_err(ReconcileError::kubernetes(format!("read {id}")))?;
        let cache = world.children(id.kind);
        let key = child_key(subject.namespace, id);
        let Some(live) = live else {
            if let Some(held) = cache.held(&key) {
                cache.remove_written(&key, &held.stamp.uid);
            }
            return Ok(Outcome::Replan);
        };
        if let Some(child) = ours(&live.metadata, id, subject.uid()) {
            cache.written(live);
            return Ok(Outcome::Found(child));
        }
        Ok(Outcome::Failed(Failure::not_ours(id, &subject.key.name)))
    }

    async fn look_at_namespace(&self, world: &World, subject: Subject<'_>) -> Result<Outcome, ReconcileError> {
        let id = ChildId { kind: ChildKind::Namespace, name: subject.namespace.to_owned() };
        self.look(world, subject, &id).await
    }

    async fn delete(
        &self,
        world: &World,
        subject: Subject<'_>,
        id: &ChildId,
        uid: &Uid,
    ) -> Result<Outcome, ReconcileError> {
        let preconditions = Preconditions { uid: Some(uid.to_string()), resource_version: None };
        let params = DeleteParams::background().preconditions(preconditions);
        let cache = world.children(id.kind);
        let key = child_key(subject.namespace, id);
        match self.children(id.kind, subject.namespace).delete(&id.name, &params).await {
            Ok(Either::Left(object)) => cache.written(object.metadata.into_response_partial()),
            Ok(Either::Right(_)) => cache.remove_written(&key, uid),
            Err(error) if is(&error, &[404]) => cache.remove_written(&key, uid),
            Err(error) if is(&error, &[409]) => return self.look(world, subject, id).await,
            Err(error) => return failed(&id.to_string(), Some(id.kind), "delete", error),
        }
        Ok(Outcome::Done)
    }

    /// Takes our mark off, so that nobody takes the namespace for managed.
    async fn retain(&self, world: &World, subject: Subject<'_>, uid: &Uid) -> Result<Outcome, ReconcileError> {
        let note = format!("kept when PlatformEnvironment {} was deleted", subject.key);
        let patch = json!({"metadata": {
            "uid": uid.to_string(),
            "annotations": {ANNOTATION_RETAINED: note, crate::api::ANNOTATION_INTENT: null},
            "labels": {LABEL_ENVIRONMENT_UID: null},
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.children(ChildKind::Namespace, subject.namespace);
        let key = ObjectKey::cluster(subject.namespace);
        match api.patch_metadata(subject.namespace, &params, &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(error) if is(&error, &[404, 409]) => {}
            Err(error) => {
                return failed(
                    &format!("Namespace {}", subject.namespace),
                    Some(ChildKind::Namespace),
                    "mark as retained",
                    error,
                );
            }
        }
        world.children(ChildKind::Namespace).remove_written(&key, uid);
        Ok(Outcome::Done)
    }
}

/// The child with this metadata, if it is this environment's and our field manager's.
///
/// In a namespace that is ours, only we apply under our field manager's name. Who does so too, and leaves out our label and
/// mark or writes another environment's, does not get rid of us by that.
#[must_use]
pub fn ours(metadata: &ObjectMeta, id: &ChildId, environment_uid: &str) -> Option<Child> {
    let tracked = Tracked::of(metadata).filter(|tracked| tracked.belongs_to(environment_uid));
    let tracked = match id.kind {
        ChildKind::Namespace => tracked?,
        _ => tracked.unwrap_or_else(|| Tracked::disguised(metadata, environment_uid)),
    };
    let ours = tracked.owned().is_some();
    ours.then(|| tracked.as_child(id.clone(), &metadata.uid.as_deref().unwrap_or_default().into()))
}

fn child_key(namespace: &str, id: &ChildId) -> ObjectKey {
    match id.kind {
        ChildKind::Namespace => ObjectKey::cluster(id.name.as_str()),
        _ => ObjectKey::new(namespace, id.name.as_str()),
    }
}

/// Whether the API server refused with one of these codes.
fn is(error: &kube::Error, codes: &[u16]) -> bool {
    matches!(error, kube::Error::Api(status) if codes.contains(&status.code))
}

/// Whether the API server refused because the namespace is not there, or on its way out. Other things may not be found
/// either: the `ClusterRole` of a binding, for example.
fn has_no_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let missing = status.details.as_ref().is_some_and(|details| details.kind == "namespaces");
    (status.code == 404 && missing) || (status.code == 403 && status.message.contains("being terminated"))
}

/// What the API server answered is reported in the status; what passes is tried again.
fn failed(target: &str, kind: Option<ChildKind>, what: &str, error: kube::Error) -> Result<Outcome, ReconcileError> {
    if !is_final(&error) {
        return Err(ReconcileError::kubernetes(format!("{what} {target}"))(error));
    }
    let message = format!("The API server refused to {what} {target}: {}", describe(&error));
    Ok(Outcome::Failed(Failure { target: target.to_owned(), kind, reason: Reason::WriteFailed, message }))
}
