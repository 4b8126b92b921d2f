//! The operator's writes as raw requests, for clients that only send them.

use environment_manager::{
    api::{
        EnvironmentRevision, EnvironmentRevisionSpec, FIELD_MANAGER, LABEL_ENVIRONMENT, LABEL_ENVIRONMENT_UID,
        LABEL_PROJECT, PlatformEnvironment,
    },
    controller::world,
    domain::environment::{
        children::{ChildKind, Intent},
        events, naming,
    },
};
use futures::future::try_join_all;
use http::Request;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Client, Resource,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, Request as Requests},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::Result;

/// Requests, stage by stage; those of one stage may be sent at once.
pub type Script = Vec<Vec<Request<Vec<u8>>>>;

/// Sends a script, and looks at nothing but the answers' codes.
pub async fn play(client: Client, script: Script) -> kube::Result<()> {
    for stage in script {
        try_join_all(stage.into_iter().map(|request| client.request_text(request))).await?;
    }
    Ok(())
}

/// The revision of this environment that says so.
pub fn revision(environment: &PlatformEnvironment, record: &EnvironmentRevisionSpec) -> EnvironmentRevision {
    let metadata = &environment.metadata;
    let project = metadata.namespace.clone().unwrap_or_default();
    let mut revision =
        EnvironmentRevision::new(&naming::revision(&record.environment, record.revision), record.clone());
    let labels = [
        (LABEL_PROJECT, project.clone()),
        (LABEL_ENVIRONMENT, record.environment.clone()),
        (LABEL_ENVIRONMENT_UID, metadata.uid.clone().unwrap_or_default()),
    ];
    revision.metadata.namespace = Some(project);
    revision.metadata.labels = Some(labels.map(|(name, value)| (name.to_owned(), value)).into());
    revision.metadata.owner_references =
        environment.controller_owner_ref(&()).map(|owner| vec![OwnerReference { block_owner_deletion: None, ..owner }]);
    revision
}

/// Creates the revision of this environment that says so.
pub fn create_revision(
    environment: &PlatformEnvironment,
    record: &EnvironmentRevisionSpec,
) -> Result<Request<Vec<u8>>> {
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let requests = Requests::new(EnvironmentRevision::url_path(&(), environment.metadata.namespace.as_deref()));
    Ok(requests.create(&params, serde_json::to_vec(&revision(environment, record))?)?)
}

/// Tells of a revision.
pub fn event_about(environment: &PlatformEnvironment, record: &EnvironmentRevisionSpec) -> Result<Request<Vec<u8>>> {
    let event = events::of_revision(record);
    let body = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": format!("{}.{:x}", record.environment, Timestamp::now().as_nanosecond())},
        "eventTime": format!("{:.6}", Timestamp::now()),
        "type": "Normal", "reason": event.reason, "action": event.action, "note": event.note,
        "regarding": environment.object_ref(&()),
        "related": {"kind": "EnvironmentRevision", "name": naming::revision(&record.environment, record.revision)},
        "reportingController": "environment-manager", "reportingInstance": "environment-manager",
    });
    let project = environment.metadata.namespace.as_deref().unwrap_or_default();
    let requests = Requests::new(format!("/apis/events.k8s.io/v1/namespaces/{project}/events"));
    Ok(requests.create(&PostParams::default(), serde_json::to_vec(&body)?)?)
}

/// Applies a child. With a resourceVersion, only if that is what it has.
pub fn apply_child(namespace: &str, intent: &Intent, resource_version: Option<&str>) -> Result<Request<Vec<u8>>> {
    let mut body = intent.body.clone();
    if let Some(resource_version) = resource_version {
        body["metadata"]["resourceVersion"] = json!(resource_version);
    }
    let namespace = (intent.id.kind != ChildKind::Namespace).then_some(namespace);
    let requests = Requests::new(DynamicObject::url_path(&world::resource(intent.id.kind), namespace));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    Ok(requests.patch_metadata(&intent.id.name, &params, &Patch::Apply(body))?)
}

/// Applies the status of an object of ours.
pub fn apply_status<K: Resource<DynamicType = ()>>(object: &K, status: &impl Serialize) -> Result<Request<Vec<u8>>> {
    let name = object.meta().name.as_deref().unwrap_or_default();
    let body: Value = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let requests = Requests::new(K::url_path(&(), object.meta().namespace.as_deref()));
    Ok(requests.patch_subresource("status", name, &params, &Patch::Apply(body))?)
}
