//! The status: what people and programs read about an environment.
//!
//! It is made from the snapshot alone and holds no moving time, so that the same state always gives the same status
//! and nothing is written when nothing changed.

use jiff::Timestamp;

use super::{plan::Hold, snapshot::Snapshot, ttl::Expiry};
use crate::{
    api::{
        Condition, ConditionStatus, EnvironmentPhase, PlatformEnvironmentStatus, Release,
        condition::{CONFIG_READY, EXPIRING, ISOLATED, NAMESPACE_READY, READY, RECONCILING, Reason, STALLED},
        isolation::EffectiveIsolation,
    },
    domain::revision::RevisionRecord,
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
}

/// The status of this snapshot. Without a hold everything is as intended.
#[must_use]
pub fn report(snapshot: &Snapshot<'_>, findings: &Findings, hold: Option<&Hold>) -> PlatformEnvironmentStatus {
    let old = snapshot.environment.status.clone().unwrap_or_default();
    let terminating = snapshot.environment.metadata.deletion_timestamp.is_some();
    let release = newest(old.release.clone(), snapshot.latest.as_deref().map(RevisionRecord::release));
    let expiring = findings.expiry.filter(|expiry| snapshot.now >= expiry.warn_at);
    let phase = phase(terminating, hold, release.is_some(), expiring.is_some());
    PlatformEnvironmentStatus {
        observed_generation: snapshot.environment.metadata.generation,
        phase: Some(phase),
        namespace: findings.namespace.clone().or(if terminating { old.namespace.clone() } else { None }),
        url: Some(snapshot.url()),
        expires_at: findings.expiry.map(|expiry| expiry.at).or(if terminating { old.expires_at } else { None }),
        release,
        isolation: findings.isolation.clone().or(if terminating { old.isolation.clone() } else { None }),
        conditions: conditions(snapshot, findings, hold, expiring, &old.conditions),
    }
}

/// The part of a stored status that is ours: others may add conditions of their own, and report beside us.
#[must_use]
pub fn ours(mut stored: PlatformEnvironmentStatus) -> PlatformEnvironmentStatus {
    let known = [READY, RECONCILING, STALLED, NAMESPACE_READY, ISOLATED, CONFIG_READY, EXPIRING];
    stored.conditions.retain(|condition| known.contains(&condition.r#type.as_str()));
    stored
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
    let mut list = List { snapshot, old, conditions: vec![] };
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
    if let Some(expiry) = expiring {
        let message =
            format!("The environment will be deleted at {}; to keep it longer, raise spec.ttl before then", expiry.at);
        list.put(EXPIRING, ConditionStatus::True, Reason::TtlEndsSoon, message);
    }
    list.conditions
}

fn ready_message(snapshot: &Snapshot<'_>, findings: &Findings) -> String {
    let namespace = findings.namespace.as_deref().unwrap_or_default();
    let version = snapshot.latest.as_ref().and_then(|latest| latest.version.as_ref());
    match version {
        Some(version) => format!("{} is released in {namespace}", version.name),
        None => format!("{namespace} is ready and has no version yet"),
    }
}

/// Conditions in the making. The time of a condition moves only when its status does.
struct List<'a> {
    snapshot: &'a Snapshot<'a>,
    old: &'a [Condition],
    conditions: Vec<Condition>,
}

impl List<'_> {
    fn aspect(&mut self, name: &str, intact: Option<bool>, hold: Option<&Hold>, message: &str) {
        let old = self.old.iter().find(|condition| condition.r#type == name);
        let concerns = hold.is_some_and(|hold| hold.concern == name);
        if let (None, Some(old), false) = (intact, old, concerns) {
            self.conditions.push(old.clone());
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
        let before = self.old.iter().find(|condition| condition.r#type == name && condition.status == status);
        let now = Timestamp::from_second(self.snapshot.now.as_second()).unwrap_or(self.snapshot.now);
        self.conditions.push(Condition {
            r#type: name.to_owned(),
            status,
            observed_generation: self.snapshot.environment.metadata.generation,
            last_transition_time: before.map_or(now, |condition| condition.last_transition_time),
            reason: reason.as_str().to_owned(),
            message,
        });
    }
}
