//! The actions on what is on record: revisions, and promotions that a rule asks for.

use futures::{StreamExt as _, stream};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
    core::DeserializeGuard,
};

use super::{AT_A_TIME, Executor, Outcome, Subject, failed, is};
use crate::{
    api::{
        EnvironmentRevision, EnvironmentRevisionSpec, FIELD_MANAGER, Promotion, RevisionNumber,
        condition::Reason,
        revision::{DeploymentOutcome, EnvironmentRevisionStatus},
    },
    controller::{
        commit::{self, Commit},
        error::ReconcileError,
        world::{World, environment_of_revision},
    },
    domain::environment::{naming, snapshot::Failure},
    kube_ext::{
        key::{ObjectKey, Uid},
        status::{self, Over},
    },
};

impl Executor {
    pub(super) async fn create_revision(
        &self,
        world: &World,
        subject: Subject<'_>,
        record: &EnvironmentRevisionSpec,
    ) -> Result<Outcome, ReconcileError> {
        match commit::create_revision(&self.client, world, subject.environment, record).await? {
            Commit::Done(_) => Ok(Outcome::Done),
            Commit::Lost => Ok(Outcome::Replan),
            Commit::Former => {
                let name = naming::revision(&subject.key.name, record.revision);
                Ok(Outcome::Failed(Failure::former_history(&name, &subject.key.name)))
            }
            Commit::Refused(error) => {
                let name = naming::revision(&subject.key.name, record.revision);
                failed(&name, None, "create EnvironmentRevision", error)
            }
        }
    }

    /// The record itself never changes; what becomes of it stands in its status.
    pub(super) async fn record_outcome(
        &self,
        world: &World,
        subject: Subject<'_>,
        number: RevisionNumber,
        outcome: &DeploymentOutcome,
    ) -> Result<Outcome, ReconcileError> {
        let name = naming::revision(&subject.key.name, number);
        let key = ObjectKey::new(subject.key.namespace.clone(), name.as_str());
        let uid = world.revisions.held(&key).map(|held| held.stamp.uid.to_string());
        let status = EnvironmentRevisionStatus { deployment: Some(outcome.clone()) };
        match status::apply::<EnvironmentRevision>(&self.client, &key, Over::Incarnation(uid.as_deref()), &status).await
        {
            Ok(Some(written)) => world.revisions.written(DeserializeGuard(Ok(written))),
            // Gone, or another one by now.
            Ok(None) => {
                let action = format!("read EnvironmentRevision {key}");
                let live =
                    self.revisions(subject.key).get_opt(&name).await.map_err(ReconcileError::kubernetes(action))?;
                match (live, world.revisions.held(&key)) {
                    (Some(live), _) => world.revisions.written(DeserializeGuard(Ok(live))),
                    (None, Some(held)) => world.revisions.remove_written(&key, &held.stamp.uid),
                    (None, None) => {}
                }
                return Ok(Outcome::Replan);
            }
            Err(error) => return failed(&name, None, "write the status of EnvironmentRevision", error),
        }
        Ok(Outcome::Done)
    }

    /// Its name says what it is for, so one that is there already is the same.
    pub(super) async fn create_promotion(
        &self,
        world: &World,
        subject: Subject<'_>,
        promotion: &Promotion,
    ) -> Result<Outcome, ReconcileError> {
        let api: Api<Promotion> = Api::namespaced(self.client.clone(), &subject.key.namespace);
        let name = promotion.metadata.name.as_deref().unwrap_or_default();
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, promotion).await {
            Ok(created) => world.promotions.written_object(created),
            Err(error) if is(&error, &[409]) => {
                let action = format!("read Promotion {}/{name}", subject.key.namespace);
                let live = api.get_opt(name).await.map_err(ReconcileError::kubernetes(action))?;
                if live.as_ref().is_some_and(|live| live.spec.target != promotion.spec.target) {
                    let message = format!(
                        "spec.promotion.auto: a promotion {name} into another environment is in the way; delete it"
                    );
                    let target = format!("Promotion {name}");
                    return Ok(Outcome::Failed(Failure { target, kind: None, reason: Reason::NotOurs, message }));
                }
                if let Some(live) = live {
                    world.promotions.written_object(live);
                }
            }
            Err(error) => return failed(name, None, "create Promotion", error),
        }
        Ok(Outcome::Done)
    }

    /// By name and uid, and only those whose content names this environment: a label is anybody's word.
    pub(super) async fn delete_revisions(
        &self,
        world: &World,
        subject: Subject<'_>,
        which: impl Fn(RevisionNumber) -> bool,
    ) -> Result<Outcome, ReconcileError> {
        let mut own = vec![];
        world.revisions.for_each_in(&subject.key.namespace, |key, held| {
            let is_own =
                environment_of_revision(key).as_ref() == Some(subject.key) && held.value.belongs_to(subject.uid());
            if is_own && which(held.value.number()) {
                own.push((key.clone(), held.stamp.uid.clone()));
            }
        });
        let api = self.revisions(subject.key);
        let deletions: Vec<_> = own.iter().map(|(key, uid)| delete_revision(world, &api, key, uid)).collect();
        let outcomes: Vec<_> = stream::iter(deletions).buffered(AT_A_TIME).collect().await;
        outcomes.into_iter().find(|outcome| !matches!(outcome, Ok(Outcome::Done))).unwrap_or(Ok(Outcome::Done))
    }
}

async fn delete_revision(
    world: &World,
    api: &Api<EnvironmentRevision>,
    key: &ObjectKey,
    uid: &Uid,
) -> Result<Outcome, ReconcileError> {
    let preconditions = Preconditions { uid: Some(uid.to_string()), resource_version: None };
    match api.delete(&key.name, &DeleteParams::background().preconditions(preconditions)).await {
        // Also one that a finalizer of somebody else holds: the environment does not wait for it. A later environment of
        // the same name does, and says so.
        Ok(_) => world.revisions.remove_written(key, uid),
        Err(error) if is(&error, &[404, 409]) => world.revisions.remove_written(key, uid),
        Err(error) => return failed(&format!("EnvironmentRevision {key}"), None, "delete", error),
    }
    Ok(Outcome::Done)
}
