//! Whether the API server enforces the chart's admission policies.
//!
//! A policy holds some moments after it was created, and not at all where somebody left it out. Without them a confirmation
//! is anybody's word, so no controller begins before they hold. The operator may not read policies; it asks for what they
//! refuse, as a dry run, which changes nothing.
//!
//! - It asks to write into its own namespace, which is no environment's: `environment-manager-writes` has to refuse it.
//! - It asks for a promotion without an author: that is stamped with one, or refused (`environment-manager-authorship`).
//!
//! The others refuse it nothing. All are installed together, and an API server takes up what it has learnt of policies once a
//! second (`PolicyRefreshInterval` in k8s.io/apiserver): where it is seen to learn of these two, the others have some seconds.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use serde_json::json;
use tokio::time;
use tracing::{info, warn};

use crate::{
    api::{ANNOTATION_CREATED_BY, Promotion},
    kube_ext::errors::describe,
};

/// The name of what is asked for; it never exists.
const PROBE: &str = "environment-manager-probe";
/// The pause between two looks while the policies do not hold yet.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the API servers get to take up all policies, where one was seen not to have them yet.
const SETTLE: Duration = Duration::from_secs(3);
/// How many looks go by between two lines in the log.
const LOOKS_PER_LINE: u32 = 40;

/// Waits until the policies hold, and says in the log for what it waits.
pub async fn wait_until_enforced(client: &Client, namespace: &str) {
    let mut looks = 0_u32;
    // Nothing was missing: they have held for long.
    while let Err(missing) = enforced(client, namespace).await {
        if looks.is_multiple_of(LOOKS_PER_LINE) {
            warn!("waiting for the chart's admission policies: {missing}");
        }
        looks = looks.saturating_add(1);
        time::sleep(PAUSE).await;
    }
    if looks > 0 {
        time::sleep(SETTLE).await;
    }
    info!("the admission policies hold");
}

/// Whether the policies hold now. `Err` says what is missing.
pub async fn enforced(client: &Client, namespace: &str) -> Result<(), String> {
    confined(client, namespace).await?;
    authorship(client, namespace).await
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

async fn confined(client: &Client, namespace: &str) -> Result<(), String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let metadata = ObjectMeta { name: Some(PROBE.to_owned()), ..ObjectMeta::default() };
    let asked = api.create(&dry_run(), &ConfigMap { metadata, ..ConfigMap::default() }).await;
    refused(asked.map(drop), "environment-manager-writes").unwrap_or_else(|()| {
        Err("the API server lets the operator write anywhere (environment-manager-writes is not in force)".to_owned())
    })
}

async fn authorship(client: &Client, namespace: &str) -> Result<(), String> {
    let api: Api<Promotion> = Api::namespaced(client.clone(), namespace);
    let probe = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "Promotion", "metadata": {"name": PROBE},
        "spec": {"target": "probe", "source": {"version": "probe"}, "dryRun": true},
    });
    let probe: Promotion = serde_json::from_value(probe).map_err(|error| error.to_string())?;
    let asked = api.create(&dry_run(), &probe).await;
    let stamped = |promotion: &Promotion| {
        let annotations: Option<&BTreeMap<String, String>> = promotion.metadata.annotations.as_ref();
        annotations.is_some_and(|annotations| annotations.contains_key(ANNOTATION_CREATED_BY))
    };
    match asked {
        Ok(promotion) if stamped(&promotion) => Ok(()),
        asked => refused(asked.map(drop), "environment-manager-authorship").unwrap_or_else(|()| {
            Err("the API server does not say who creates what (environment-manager-authorship is not in force)"
                .to_owned())
        }),
    }
}

/// `Ok` if this policy refused the request; `Err(())` if nothing did.
fn refused(asked: kube::Result<()>, policy: &str) -> Result<Result<(), String>, ()> {
    match asked {
        Ok(()) => Err(()),
        Err(kube::Error::Api(status)) if status.message.contains(policy) => Ok(Ok(())),
        Err(error) => Ok(Err(describe(&error))),
    }
}
