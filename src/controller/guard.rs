//! Whether the API server enforces the chart's admission policies.
//!
//! A policy holds some moments after it was created, and not at all where somebody left it out. Without them a confirmation
//! is anybody's word, so no controller begins before they hold. The operator may not read policies; it asks for what they
//! refuse, as a dry run, which changes nothing.
//!
//! - It asks to write into its own namespace, which is no environment's: `environment-manager-writes` has to refuse it.
//! - It asks for a promotion in the name of somebody else: `environment-manager-authorship` has to refuse it.
//!
//! The others refuse it nothing. Of them it looks whether policy and binding are there, by name, and how old they are: an API
//! server takes up what it has learnt of policies once a second (`PolicyRefreshInterval` in k8s.io/apiserver), so young ones get
//! some seconds.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::ConfigMap,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use serde_json::json;
use tokio::time;
use tracing::{info, warn};

use super::rights::OPERATOR;
use crate::{
    api::{ANNOTATION_CREATED_BY, Promotion},
    kube_ext::errors::describe,
};

/// The chart's validating policies, by the word after the operator's name.
const POLICIES: [&str; 7] = ["authorship", "environments", "history", "namespaces", "promotions", "reports", "writes"];
/// The one that is there where Vault is used: no pod runs as who reads the secrets.
const VAULT_POLICY: &str = "vault";
/// The name of what is asked for; it never exists.
const PROBE: &str = "environment-manager-probe";
/// The pause between two looks while the policies do not hold yet.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the API servers get to take up all policies, where one was seen not to have them yet.
const SETTLE: Duration = Duration::from_secs(3);
/// A binding that is younger than this may not be known everywhere.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);
/// The pause between two looks while they hold.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How many looks go by between two lines in the log.
const LOOKS_PER_LINE: u32 = 40;

/// Waits until the policies hold, and says in the log for what it waits.
pub async fn wait_until_enforced(client: &Client, namespace: &str, vault: bool) {
    let mut looks = 0_u32;
    let youngest = loop {
        match enforced(client, namespace, vault).await {
            Ok(youngest) => break youngest,
            Err(missing) if looks.is_multiple_of(LOOKS_PER_LINE) => {
                warn!("waiting for the chart's admission policies: {missing}");
            }
            Err(_) => {}
        }
        looks = looks.saturating_add(1);
        time::sleep(PAUSE).await;
    };
    if looks > 0 || youngest.is_none_or(|made| Timestamp::now().duration_since(made) < YOUNG) {
        time::sleep(SETTLE).await;
    }
    info!("the admission policies hold");
}

/// Looks now and then, and ends with what is missing once the policies do not hold any more: not before two looks in a row have
/// found that, since an API server that is just starting may not know them yet.
pub async fn until_not_enforced(client: Client, namespace: String, vault: bool) -> String {
    let mut missed = false;
    loop {
        time::sleep(LOOK_AGAIN).await;
        match enforced(&client, &namespace, vault).await {
            Err(Unenforced::Missing(what)) if missed => return what,
            Err(Unenforced::Missing(what)) => {
                warn!("{what}");
                missed = true;
            }
            // Whether they hold is not known; the Lease is what ends a leader that cannot ask.
            Err(Unenforced::Unknown(_)) => {}
            Ok(_) => missed = false,
        }
    }
}

/// Why nobody can say that the policies hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unenforced {
    /// They do not.
    #[error("{0}")]
    Missing(String),
    /// The API server did not answer the question.
    #[error("{0}")]
    Unknown(String),
}

/// Whether the policies hold now, and when the youngest binding was made. `Err` says what is missing.
pub async fn enforced(client: &Client, namespace: &str, vault: bool) -> Result<Option<Timestamp>, Unenforced> {
    let youngest = present(client, vault).await?;
    confined(client, namespace).await?;
    authorship(client, namespace).await?;
    Ok(youngest)
}

/// Whether all policies are there, and bound.
async fn present(client: &Client, vault: bool) -> Result<Option<Timestamp>, Unenforced> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let mut youngest = None;
    for name in policy_names(vault) {
        let missing = |error: kube::Error| unread(&error, &format!("the policy {name} is not there"));
        let policy = policies.get(&name).await.map_err(missing)?;
        if policy.spec.and_then(|spec| spec.failure_policy).is_some_and(|failure| failure != "Fail") {
            return Err(Unenforced::Missing(format!(
                "the policy {name} lets through what it cannot evaluate (failurePolicy)"
            )));
        }
        let missing = |error: kube::Error| unread(&error, &format!("the policy {name} is bound to nothing"));
        let binding = bindings.get(&name).await.map_err(missing)?;
        let actions = binding.spec.validation_actions;
        if !actions.iter().any(|action| action == "Deny") {
            return Err(Unenforced::Missing(format!(
                "the policy {name} refuses nothing (validationActions of its binding)"
            )));
        }
        youngest = youngest.max(binding.metadata.creation_timestamp.map(|made| made.0));
    }
    Ok(youngest)
}

/// The names of the chart's validating policies, and of their bindings; with that for Vault where Vault is used.
pub fn policy_names(vault: bool) -> impl Iterator<Item = String> {
    let all = POLICIES.iter().copied().chain(vault.then_some(VAULT_POLICY));
    all.map(|policy| format!("{OPERATOR}-{policy}"))
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

async fn confined(client: &Client, namespace: &str) -> Result<(), Unenforced> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let metadata = ObjectMeta { name: Some(PROBE.to_owned()), ..ObjectMeta::default() };
    let asked = api.create(&dry_run(), &ConfigMap { metadata, ..ConfigMap::default() }).await;
    let otherwise = "the API server lets the operator write anywhere (environment-manager-writes is not in force)";
    refused(asked.map(drop), "environment-manager-writes", otherwise)
}

async fn authorship(client: &Client, namespace: &str) -> Result<(), Unenforced> {
    let api: Api<Promotion> = Api::namespaced(client.clone(), namespace);
    let probe = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "Promotion",
        "metadata": {"name": PROBE, "annotations": {ANNOTATION_CREATED_BY: "somebody else"}},
        "spec": {"target": "probe", "source": {"version": "probe"}, "dryRun": true},
    });
    let probe: Promotion = serde_json::from_value(probe).map_err(|error| Unenforced::Unknown(error.to_string()))?;
    let asked = api.create(&dry_run(), &probe).await;
    let otherwise =
        "the API server believes anybody who says who they are (environment-manager-authorship is not in force)";
    refused(asked.map(drop), "environment-manager-authorship", otherwise)
}

/// `Ok` if this policy refused the request.
fn refused(asked: kube::Result<()>, policy: &str, otherwise: &str) -> Result<(), Unenforced> {
    match asked {
        Ok(()) => Err(Unenforced::Missing(otherwise.to_owned())),
        Err(kube::Error::Api(status)) if status.message.contains(policy) => Ok(()),
        Err(error) => Err(Unenforced::Unknown(describe(&error))),
    }
}

/// What an object that cannot be read means.
fn unread(error: &kube::Error, not_there: &str) -> Unenforced {
    match error {
        kube::Error::Api(status) if status.code == 404 => Unenforced::Missing(not_there.to_owned()),
        error => Unenforced::Unknown(describe(error)),
    }
}
