//! One changed variable, until the release pointer in the environment's namespace says so.

use std::time::{Duration, Instant};

use environment_manager::api::PlatformEnvironment;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams},
};
use serde_json::json;

use crate::support::Result;

/// More than any change takes.
const LIMIT: Duration = Duration::from_secs(30);

/// The release pointer, as a field selector.
const RELEASE: &str = "metadata.name=release";

/// How long single changes took, shortest first. They are made one at a time, spread over all environments.
pub async fn measure(client: &Client, project: &str, environments: usize, changes: usize) -> Result<Vec<Duration>> {
    let mut latencies = vec![];
    for number in 0..changes {
        let name = format!("e-{}", number * environments / changes);
        latencies.push(tokio::time::timeout(LIMIT, change(client, project, &name, number)).await??);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

async fn change(client: &Client, project: &str, name: &str, number: usize) -> Result<Duration> {
    let pointers: Api<ConfigMap> = Api::namespaced(client.clone(), &format!("{project}--{name}"));
    let digest = |pointer: &ConfigMap| pointer.data.as_ref().and_then(|data| data.get("configDigest").cloned());
    // From the list's resourceVersion: that of the pointer may be too old for a watch.
    let list = pointers.list(&ListParams::default().fields(RELEASE)).await?;
    let before = list.items.first().ok_or("there is no release pointer")?;
    let version = list.metadata.resource_version.clone().unwrap_or_default();
    let params = WatchParams::default().fields(RELEASE);
    // The request is answered when the watch is in place: nothing that comes after is missed.
    let mut events: BoxStream<'_, _> = pointers.watch(&params, &version).await?.boxed();

    let api: Api<PlatformEnvironment> = Api::namespaced(client.clone(), project);
    let variables = json!([{"name": "LOG_LEVEL", "value": format!("level-{number}")}]);
    let patch = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
        "spec": {"config": {"variables": variables}},
    });
    let start = Instant::now();
    api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(patch)).await?;
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Modified(pointer) = event
            && digest(&pointer) != digest(before)
        {
            return Ok(start.elapsed());
        }
    }
    Err("the watch of the release pointer ended".into())
}
