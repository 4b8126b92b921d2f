//! The status: what people and programs read about an environment.
//!
//! It is made from the snapshot alone and holds no moving time, so that the same state always gives the same status
//! and nothing is written when nothing changed.

use serde_json::{Map, Value, json};

use super::{plan::Hold, snapshot::Snapshot, ttl::Expiry};
use crate::{
    api::{
        Condition, ConditionStatus, EnvironmentPhase, PlatformEnvironmentStatus, Release,
        condition::{
            CONFIG_DIVERGED, CONFIG_PENDING, CONFIG_READY, EXPIRING, ISOLATED, NAMESPACE_READY, READY, RECONCILING,
            Reason, STALLED,
        },
        environment::{ConfigurationChanges, DivergedKey},
        isolation::EffectiveIsolation,
    },
    domain::{conditions::Conditions, revision::RevisionRecord},
};

/// The conditions that are ours.
const CONDITIONS: [&str; 9] =
    [READY, RECONCILING, STALLED, NAMESPACE_READY, ISOLATED, CONFIG_READY, CONFIG_DIVERGED, CONFIG_PENDING, EXPIRING];

/// The other fields that are ours. What is not here is somebody else's, and no correction touches it.
const FIELDS: [&str; 10] = [
    "observedGeneration",
    "phase",
    "namespace",
    "url",
    "expiresAt",
    "release",
    "pendingConfig",
    "diverged",
    "vetoes",
    "isolation",
];

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
}

/// The status of this snapshot. Without a hold everything is as intended.
#[must_use]
pub fn report(snapshot: &Snapshot<'_>, findings: &Findings, hold: Option<&Hold>) -> PlatformEnvironmentStatus {
    let old = snapshot.environment.status.clone().unwrap_or_default();
    let terminating = snapshot.environment.metadata.deletion_timestamp.is_some();
    let release = newest(old.release.clone(), snapshot.latest().map(RevisionRecord::release));
    let expiring = findings.expiry.filter(|expiry| snapshot.now >= expiry.warn_at);
    let phase = phase(terminating, hold, release.is_some(), expiring.is_some());
    PlatformEnvironmentStatus {
        observed_generation: snapshot.environment.metadata.generation,
        phase: Some(phase),
        namespace: findings.namespace.clone().or(if terminating { old.namespace.clone() } else { None }),
        url: Some(snapshot.url()),
        expires_at: findings.expiry.map(|expiry| expiry.at).or(if terminating { old.expires_at } else { None }),
        release,
        // The planner's field.
        deployment: None,
        pending_config: findings.pending_config.clone(),
        diverged: diverged(snapshot),
        vetoes: snapshot.history.vetoes(),
        isolation: findings.isolation.clone().or(if terminating { old.isolation.clone() } else { None }),
        conditions: conditions(snapshot, findings, hold, expiring, &old.conditions),
    }
}

/// The part of a stored status that is ours: others may add conditions of their own, and report beside us.
#[must_use]
pub fn ours(mut stored: PlatformEnvironmentStatus) -> PlatformEnvironmentStatus {
    stored.deployment = None;
    stored.conditions.retain(is_ours);
    stored
}

fn is_ours(condition: &Condition) -> bool {
    CONDITIONS.contains(&condition.r#type.as_str())
}

/// A JSON merge patch (RFC 7386) of the status that makes our part of it as intended; `None` if it is.
///
/// A server-side apply cannot do that alone: what it leaves out stays if another manager owns it, a `Stalled` that
/// somebody forged for example. The patch is for exactly this stored status, since it gives the list of conditions as
/// a whole, those of others included.
#[must_use]
pub fn correction(stored: &PlatformEnvironmentStatus, intended: &PlatformEnvironmentStatus) -> Option<Value> {
    let mut patch = difference(&our_fields(json!(stored)), &our_fields(json!(intended))).unwrap_or_else(|| json!({}));
    let (ours, theirs): (Vec<_>, Vec<_>) = stored.conditions.iter().cloned().partition(is_ours);
    if ours != intended.conditions {
        patch["conditions"] = json!([intended.conditions.clone(), theirs].concat());
    }
    patch.as_object().is_some_and(|patch| !patch.is_empty()).then_some(patch)
}

fn our_fields(mut status: Value) -> Value {
    if let Value::Object(fields) = &mut status {
        fields.retain(|name, _| FIELDS.contains(&name.as_str()));
    }
    status
}

/// The merge patch that makes `to` of `from`.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let gone = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let set = to.iter().filter_map(|(name, to)| {
        let difference = difference(from.get(name).unwrap_or(&Value::Null), to)?;
        Some((name.clone(), difference))
    });
    let patch: Map<String, Value> = gone.chain(set).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
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
/// How many names stand in a sentence.
const MOST_NAMES: usize = 8;

fn diverged(snapshot: &Snapshot<'_>) -> Vec<DivergedKey> {
    snapshot.latest().map_or(vec![], |latest| latest.diverged.iter().take(MOST_KEYS).cloned().collect())
}

fn diverged_message(keys: &[DivergedKey]) -> String {
    let name = |key: &DivergedKey| match key.revision {
        Some(revision) => format!("{} (revision {revision})", key.name),
        None => format!("{} (removed)", key.name),
    };
    let names = some_of(keys.iter().map(name).collect());
    format!(
        "Promotions or rollbacks brought other values than spec.config says: {names}; edit these keys in spec.config to change them"
    )
}

fn pending_message(snapshot: &Snapshot<'_>, pending: &ConfigurationChanges) -> String {
    let all = [&pending.variables, &pending.flags];
    let names =
        all.into_iter().flat_map(|changes| changes.added.iter().chain(&changes.removed).chain(&changes.changed));
    let names: Vec<String> = names.cloned().collect();
    let what = if names.is_empty() { "changes of no value".to_owned() } else { some_of(names) };
    format!(
        "Edits of spec.config wait for a promotion: {what}. Create a Promotion with target {} and source.pendingConfig: true",
        snapshot.name()
    )
}

fn some_of(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let names = names.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
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
    use jiff::Timestamp;
    use kube::CustomResourceExt as _;

    use super::*;
    use crate::api::PlatformEnvironment;

    fn condition(name: &str) -> Value {
        json!({"type": name, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn conditions(names: &[&str]) -> Vec<Condition> {
        names.iter().map(|name| serde_json::from_value(condition(name)).unwrap()).collect()
    }

    fn intended() -> PlatformEnvironmentStatus {
        let conditions = conditions(&["Ready", "Isolated"]);
        PlatformEnvironmentStatus { phase: Some(EnvironmentPhase::Active), conditions, ..Default::default() }
    }

    #[test]
    fn what_others_put_into_our_part_is_taken_out_and_theirs_stays() {
        let mut stored = intended();
        stored.expires_at = Some(Timestamp::UNIX_EPOCH);
        stored.conditions = conditions(&["Stalled", "example.com/A", "Ready", "Isolated"]);
        let theirs_at_the_end = conditions(&["Ready", "Isolated", "example.com/A"]);
        let expected = json!({"expiresAt": null, "conditions": theirs_at_the_end});
        assert_eq!(correction(&stored, &intended()), Some(expected));
    }

    #[test]
    fn a_part_of_a_field_is_taken_out_alone() {
        let release = json!({"revision": 1, "variables": "v"});
        let forged = json!({"revision": 1, "variables": "v", "version": "v6.6.6"});
        assert_eq!(difference(&forged, &release), Some(json!({"version": null})));
        assert_eq!(difference(&release, &json!({"revision": 2, "variables": "v"})), Some(json!({"revision": 2})));
    }

    #[test]
    fn where_nothing_differs_nothing_is_written() {
        assert_eq!(correction(&intended(), &intended()), None);
        let mut stored = intended();
        stored.conditions.extend(conditions(&["example.com/A"]));
        assert_eq!(correction(&stored, &intended()), None);
    }

    #[test]
    fn a_field_that_is_not_ours_is_not_even_looked_at() {
        let stored = our_fields(json!({"phase": "Active", "deployment": {"state": "Succeeded"}}));
        assert_eq!(stored, json!({"phase": "Active"}));
    }

    /// A new field of the status is either ours, and then corrected, or written by others alone.
    #[test]
    fn each_field_of_the_status_has_one_author() {
        const THEIRS: [&str; 1] = ["deployment"];
        let crd = json!(PlatformEnvironment::crd());
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        for field in schema.as_object().unwrap().keys().filter(|field| *field != "conditions") {
            let ours = FIELDS.contains(&field.as_str());
            assert!(ours != THEIRS.contains(&field.as_str()), "whose is status.{field}? Add it to FIELDS or to THEIRS");
        }
    }
}
