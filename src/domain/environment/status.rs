//! The status: what people and programs read about an environment.
//!
//! It is made from the snapshot alone and holds no moving time, so that the same state always gives the same status
//! and nothing is written when nothing changed.

use jiff::Timestamp;

use super::{plan::Hold, secrets, snapshot::Snapshot, ttl::Expiry};
use crate::{
    api::{
        Condition, ConditionStatus, EnvironmentPhase, PlatformEnvironmentStatus, Release, SecretState, SecretStatus,
        VaultLocation,
        condition::{
            CONFIG_DIVERGED, CONFIG_PENDING, CONFIG_READY, EXPIRING, ISOLATED, NAMESPACE_READY, READY, RECONCILING,
            Reason, SECRETS_READY, STALLED,
        },
        environment::{ConfigurationChanges, DivergedKey, Veto},
        isolation::EffectiveIsolation,
    },
    domain::{conditions::Conditions, names::some_of, our_part::OurPart, revision::RevisionRecord},
};

/// The part of the status that is ours; `deployment` is the planner's.
pub const OURS: OurPart = OurPart {
    fields: &[
        "observedGeneration",
        "phase",
        "namespace",
        "url",
        "expiresAt",
        "release",
        "pendingConfig",
        "diverged",
        "vetoes",
        "vault",
        "secrets",
        "isolation",
    ],
    conditions: &[
        READY,
        RECONCILING,
        STALLED,
        NAMESPACE_READY,
        ISOLATED,
        CONFIG_READY,
        CONFIG_DIVERGED,
        CONFIG_PENDING,
        SECRETS_READY,
        EXPIRING,
    ],
};

/// What planning found out on its way. What it did not get to is `None`, and stays as it was last reported.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The namespace's name.
    pub namespace: Option<String>,
    /// The isolation that applies.
    pub isolation: Option<EffectiveIsolation>,
    /// When the environment ends.
    pub expiry: Option<Expiry>,
    /// The namespace is as intended.
    pub namespace_intact: Option<bool>,
    /// Everything that isolates is as intended.
    pub isolation_intact: Option<bool>,
    /// The release is recorded and readable in the namespace.
    pub config_intact: Option<bool>,
    /// Edits of `spec.config` that wait for a promotion.
    pub pending_config: Option<ConfigurationChanges>,
    /// Where the secrets lie; `None` where Vault is not used.
    pub vault: Option<VaultLocation>,
    /// The secrets that variables refer to.
    pub secrets: Option<Vec<SecretStatus>>,
    /// The environment's place in Vault is as intended, and every secret has a value.
    pub secrets_intact: Option<bool>,
    /// Why nobody can say at present whether they are. They were before.
    pub secrets_unknown: Option<(Reason, String)>,
    /// When to look into Vault again.
    pub look_again: Option<Timestamp>,
    /// Something that is in nobody's way failed: try again after a while.
    pub retry: bool,
}

/// The status of this snapshot. Without a hold everything is as intended.
#[must_use]
pub fn report(snapshot: &Snapshot<'_>, findings: &Findings, hold: Option<&Hold>) -> PlatformEnvironmentStatus {
    let old = snapshot.environment.status.clone().unwrap_or_default();
    let terminating = snapshot.environment.metadata.deletion_timestamp.is_some();
    let release = newest(old.release.clone(), snapshot.latest().map(RevisionRecord::release));
    let expiring = findings.expiry.filter(|expiry| snapshot.now >= expiry.warn_at);
    let phase = phase(terminating, hold, release.is_some(), expiring.is_some());
    let has_place = has_place(snapshot);
    PlatformEnvironmentStatus {
        observed_generation: snapshot.environment.metadata.generation,
        phase: Some(phase),
        namespace: findings.namespace.clone().or(if terminating { old.namespace.clone() } else { None }),
        url: Some(snapshot.url()),
        expires_at: findings.expiry.map(|expiry| expiry.at).or(if terminating { old.expires_at } else { None }),
        release,
        // The planner's field.
        deployment: None,
        // Without a change of value there is nothing to list; the condition tells of it all the same.
        pending_config: pending_config(snapshot, findings, hold),
        diverged: diverged(snapshot),
        vetoes: newest_vetoes(snapshot),
        vault: findings.vault.clone().or_else(|| old.vault.clone().filter(|_| has_place)),
        secrets: match &findings.secrets {
            Some(secrets) => secrets.clone(),
            None if has_place => old.secrets.clone(),
            None => old.secrets.iter().map(given_up).collect(),
        },
        isolation: findings.isolation.clone().or(if terminating { old.isolation.clone() } else { None }),
        conditions: conditions(snapshot, findings, hold, expiring, &old.conditions),
    }
}

/// The part of a stored status that is ours: others may add conditions of their own, and report beside us.
#[must_use]
pub fn ours(mut stored: PlatformEnvironmentStatus) -> PlatformEnvironmentStatus {
    stored.deployment = None;
    stored.conditions.retain(|condition| OURS.has(condition));
    stored
}

/// A secret of a place in Vault that was given up. That it had a value is not forgotten: nothing is made anew that was there before.
fn given_up(secret: &SecretStatus) -> SecretStatus {
    let state = if secret.state.was_there() { SecretState::Lost } else { secret.state };
    SecretStatus { state, ..secret.clone() }
}

fn has_place(snapshot: &Snapshot<'_>) -> bool {
    snapshot.settings.vault.is_some() || secrets::left_place(snapshot).is_some()
}

/// What was not looked at stays as it was last reported.
fn pending_config(snapshot: &Snapshot<'_>, findings: &Findings, hold: Option<&Hold>) -> Option<ConfigurationChanges> {
    let stored = || snapshot.environment.status.as_ref().and_then(|status| status.pending_config.clone());
    let found = findings.pending_config.clone().filter(|changes| !changes.is_empty());
    if findings.config_intact.is_none() && hold.is_some() { found.or_else(stored) } else { found }
}

/// The release of the newest revision. One that the history does not have any more stays said: it is the only trace.
fn newest(said: Option<Release>, recorded: Option<Release>) -> Option<Release> {
    let cut =
        said.as_ref().is_some_and(|said| recorded.as_ref().is_none_or(|recorded| recorded.revision < said.revision));
    if cut { said } else { recorded }
}

fn phase(terminating: bool, hold: Option<&Hold>, released: bool, expiring: bool) -> EnvironmentPhase {
    match hold {
        _ if terminating => EnvironmentPhase::Terminating,
        Some(_) if released => EnvironmentPhase::Degraded,
        Some(_) => EnvironmentPhase::Pending,
        None if expiring => EnvironmentPhase::Expiring,
        None => EnvironmentPhase::Active,
    }
}

fn conditions(
    snapshot: &Snapshot<'_>,
    findings: &Findings,
    hold: Option<&Hold>,
    expiring: Option<Expiry>,
    old: &[Condition],
) -> Vec<Condition> {
    let mut list = List(Conditions::new(old, snapshot.environment.metadata.generation, snapshot.now));
    let ready = || ready_message(snapshot, findings);
    match hold {
        None => list.put(READY, ConditionStatus::True, Reason::AsIntended, ready()),
        Some(hold) => list.put(READY, ConditionStatus::False, hold.reason, hold.message.clone()),
    }
    if let Some(hold) = hold {
        let summary = if hold.stalled { STALLED } else { RECONCILING };
        list.put(summary, ConditionStatus::True, hold.reason, hold.message.clone());
    }
    list.aspect(NAMESPACE_READY, findings.namespace_intact, hold, "The namespace is as intended");
    list.aspect(
        ISOLATED,
        findings.isolation_intact,
        hold,
        "Quota, limits, network policies and access are as intended",
    );
    list.aspect(
        CONFIG_READY,
        findings.config_intact,
        hold,
        "Version and configuration are recorded and readable in the namespace",
    );
    if let Some((reason, message)) = &findings.secrets_unknown {
        list.put(SECRETS_READY, ConditionStatus::Unknown, *reason, message.clone());
    } else if has_place(snapshot) {
        let message = "Every secret that variables refer to has a value in the environment's own place in Vault";
        list.aspect(SECRETS_READY, findings.secrets_intact, hold, message);
    }
    if let Some(pending) = &findings.pending_config {
        list.put(CONFIG_PENDING, ConditionStatus::True, Reason::ConfigPending, pending_message(snapshot, pending));
    }
    let diverged = diverged(snapshot);
    if !diverged.is_empty() {
        list.put(CONFIG_DIVERGED, ConditionStatus::True, Reason::ConfigDiverged, diverged_message(&diverged));
    }
    if let Some(expiry) = expiring {
        let message =
            format!("The environment will be deleted at {}; to keep it longer, raise spec.ttl before then", expiry.at);
        list.put(EXPIRING, ConditionStatus::True, Reason::TtlEndsSoon, message);
    }
    list.0.into_inner()
}

/// How many keys the status lists, as in the schema.
const MOST_KEYS: usize = 512;
/// How many vetoes the status lists, as in the schema.
const MOST_VETOES: usize = 64;

/// The newest, as many as the schema takes. The gate looks at all.
fn newest_vetoes(snapshot: &Snapshot<'_>) -> Vec<Veto> {
    let vetoes = snapshot.history.vetoes();
    vetoes[vetoes.len().saturating_sub(MOST_VETOES)..].to_vec()
}

fn diverged(snapshot: &Snapshot<'_>) -> Vec<DivergedKey> {
    snapshot.latest().map_or(vec![], |latest| latest.diverged.iter().take(MOST_KEYS).cloned().collect())
}

fn diverged_message(keys: &[DivergedKey]) -> String {
    let name = |key: &DivergedKey| match key.revision {
        Some(revision) => format!("{} (revision {revision})", key.name),
        None => format!("{} (removed)", key.name),
    };
    let names = some_of(&keys.iter().map(name).collect::<Vec<_>>());
    format!(
        "Promotions or rollbacks brought other values than spec.config says: {names}; edit these keys in spec.config to change them"
    )
}

fn pending_message(snapshot: &Snapshot<'_>, pending: &ConfigurationChanges) -> String {
    let all = [&pending.variables, &pending.flags];
    let names =
        all.into_iter().flat_map(|changes| changes.added.iter().chain(&changes.removed).chain(&changes.changed));
    let names: Vec<String> = names.cloned().collect();
    let what = if names.is_empty() { "changes of no value".to_owned() } else { some_of(&names) };
    format!(
        "Edits of spec.config wait for a promotion: {what}. Create a Promotion with target {} and source.pendingConfig: true",
        snapshot.name()
    )
}

fn ready_message(snapshot: &Snapshot<'_>, findings: &Findings) -> String {
    let namespace = findings.namespace.as_deref().unwrap_or_default();
    let version = snapshot.latest().and_then(|latest| latest.version.as_ref());
    match version {
        Some(version) => format!("{} is released in {namespace}", version.name),
        None => format!("{namespace} is ready and has no version yet"),
    }
}

/// The conditions of an environment in the making.
struct List<'a>(Conditions<'a>);

impl List<'_> {
    fn aspect(&mut self, name: &str, intact: Option<bool>, hold: Option<&Hold>, message: &str) {
        let concerns = hold.is_some_and(|hold| hold.concern == name);
        if let (None, Some(old), false) = (intact, self.0.before(name), concerns) {
            self.0.keep(old);
            return;
        }
        let (status, reason, message) = match hold {
            _ if intact == Some(true) => (ConditionStatus::True, Reason::AsIntended, message.to_owned()),
            Some(hold) if hold.concern == name || hold.concern == READY => {
                (ConditionStatus::False, hold.reason, hold.message.clone())
            }
            Some(hold) => (ConditionStatus::False, Reason::Progressing, format!("Waits for {}", hold.concern)),
            None => (ConditionStatus::False, Reason::Progressing, "Work is under way".to_owned()),
        };
        self.put(name, status, reason, message);
    }

    fn put(&mut self, name: &str, status: ConditionStatus, reason: Reason, message: String) {
        self.0.put(name, status, reason.as_str(), message);
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;
    use crate::api::PlatformEnvironment;

    /// A new field of the status is either ours, and then corrected, or written by others alone.
    #[test]
    fn each_field_of_the_status_has_one_author() {
        OURS.assert_authors(&json!(PlatformEnvironment::crd()), &["deployment"]);
    }
}
