//! The commit: making an environment's next revision.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource as _, api::PostParams, core::DeserializeGuard};

use super::{error::ReconcileError, world::World};
use crate::{
    api::{
        EnvironmentRevision, EnvironmentRevisionSpec, FIELD_MANAGER, LABEL_ENVIRONMENT, LABEL_ENVIRONMENT_UID,
        LABEL_PROJECT, PlatformEnvironment,
    },
    domain::environment::naming,
    kube_ext::errors,
};

/// What became of a commit.
#[derive(Debug)]
pub enum Commit {
    /// It is made.
    Done(Box<EnvironmentRevision>),
    /// Somebody else made a revision of that number. The caches know it now: plan again.
    Lost,
    /// A former environment of the same name has a revision of that name, which does not go.
    Former,
    /// The API server does not take it; in its words.
    Refused(kube::Error),
}

/// Makes this revision of this environment. Creation is atomic: of two writers one wins, and the other one reads what the
/// first one wrote.
pub async fn create_revision(
    client: &Client,
    world: &World,
    environment: &PlatformEnvironment,
    record: &EnvironmentRevisionSpec,
) -> Result<Commit, ReconcileError> {
    let project = environment.metadata.namespace.as_deref().unwrap_or_default();
    let name = naming::revision(&record.environment, record.revision);
    let mut revision = EnvironmentRevision::new(&name, record.clone());
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    revision.metadata.labels = Some(
        [
            label(LABEL_PROJECT, project),
            label(LABEL_ENVIRONMENT, &record.environment),
            label(LABEL_ENVIRONMENT_UID, &record.environment_uid),
        ]
        .into(),
    );
    revision.metadata.owner_references =
        environment.controller_owner_ref(&()).map(|owner| vec![OwnerReference { block_owner_deletion: None, ..owner }]);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let api: Api<EnvironmentRevision> = Api::namespaced(client.clone(), project);
    match api.create(&params, &revision).await {
        Ok(created) => {
            world.revisions.written(DeserializeGuard(Ok(created.clone())));
            Ok(Commit::Done(Box::new(created)))
        }
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let action = format!("read EnvironmentRevision {project}/{name}");
            let live = api.get_opt(&name).await.map_err(ReconcileError::kubernetes(action))?;
            if live.as_ref().is_some_and(|live| live.spec.environment_uid != record.environment_uid) {
                return Ok(Commit::Former);
            }
            if let Some(live) = live {
                world.revisions.written(DeserializeGuard(Ok(live)));
            }
            Ok(Commit::Lost)
        }
        Err(error) if errors::is_final(&error) => Ok(Commit::Refused(error)),
        Err(error) => Err(ReconcileError::kubernetes(format!("create EnvironmentRevision {project}/{name}"))(error)),
    }
}
