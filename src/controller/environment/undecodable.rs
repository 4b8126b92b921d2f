//! Environments that the API server stores and nobody can read, because an older schema let them in.
//!
//! They are told so in their status, stay as they are, and can still be deleted in good order.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, error_boundary::InvalidObject},
};
use serde_json::{Value, json};

use crate::{
    api::{
        DeletionPolicy, EnvironmentClass, FIELD_MANAGER, PlatformEnvironment, PlatformEnvironmentSpec,
        condition::{READY, Reason, STALLED},
    },
    controller::error::ReconcileError,
    kube_ext::key::ObjectKey,
};

/// Reports the object, or, if it is being deleted, gives as much of it as its deletion needs.
pub async fn handle(
    client: &Client,
    key: &ObjectKey,
    invalid: &InvalidObject,
) -> Result<Option<Arc<PlatformEnvironment>>, ReconcileError> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &key.namespace, &ApiResource::erase::<PlatformEnvironment>(&()));
    let action = format!("read PlatformEnvironment {key}");
    let Some(stored) = api.get_opt(&key.name).await.map_err(ReconcileError::kubernetes(action))? else {
        return Ok(None);
    };
    if stored.metadata.deletion_timestamp.is_some() {
        return Ok(Some(Arc::new(for_deletion(stored))));
    }
    report(&api, key, invalid, &stored).await?;
    Ok(None)
}

/// Only what a teardown looks at. `Retain` is honoured even where all else is unreadable.
fn for_deletion(stored: DynamicObject) -> PlatformEnvironment {
    let retain = stored.data["spec"]["deletionPolicy"] == "Retain";
    let spec = PlatformEnvironmentSpec {
        class: EnvironmentClass::Development,
        base_from: None,
        ttl: None,
        config: crate::api::Configuration::default(),
        isolation: None,
        promotion: None,
        revision_history_limit: crate::api::environment::revision_history_limit(),
        deletion_policy: if retain { DeletionPolicy::Retain } else { DeletionPolicy::Delete },
    };
    let status = serde_json::from_value(stored.data["status"].clone()).ok();
    PlatformEnvironment { metadata: stored.metadata, spec, status }
}

async fn report(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    invalid: &InvalidObject,
    stored: &DynamicObject,
) -> Result<(), ReconcileError> {
    let message = format!(
        "The stored object cannot be read: {}. It was left as it is; correct that field, for example with kubectl edit",
        invalid.error
    );
    if says_so_already(&stored.data, &message) {
        return Ok(());
    }
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let condition = |name: &str, status: &str| {
        json!({
            "type": name, "status": status, "reason": Reason::Undecodable.as_str(), "message": message,
            "lastTransitionTime": now, "observedGeneration": stored.metadata.generation,
        })
    };
    // What else the status says stays said: the release in it goes on to apply.
    let mut status = stored.data["status"].clone();
    if let Value::Object(status) = &mut status {
        // The planner's field.
        status.remove("deployment");
    }
    status["observedGeneration"] = json!(stored.metadata.generation);
    status["conditions"] = json!([condition(READY, "False"), condition(STALLED, "True")]);
    let body = json!({
        "apiVersion": format!("{}/{}", crate::api::GROUP, crate::api::VERSION),
        "kind": "PlatformEnvironment",
        "metadata": {"name": &*key.name, "uid": stored.metadata.uid},
        "status": status,
    });
    let apply = PatchParams::apply(FIELD_MANAGER).force();
    let written = api.patch_status(&key.name, &apply, &Patch::Apply(body)).await;
    written.map_err(ReconcileError::kubernetes(format!("write the status of PlatformEnvironment {key}")))?;
    Ok(())
}

fn says_so_already(stored: &Value, message: &str) -> bool {
    let conditions = stored["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|found| found["type"] == STALLED && found["message"] == message)
    })
}
