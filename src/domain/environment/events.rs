//! Events: what happened, told to people once.
//!
//! An event about the state is made from the difference between two statuses, so a state that stays tells nothing.
//! Events about writes are made where the write is known.

use super::{children::ChildId, snapshot::Difference};
use crate::{
    api::{
        Cause, Condition, ConditionStatus, EnvironmentPhase, EnvironmentRevisionSpec, PlatformEnvironmentStatus,
        ReleaseState,
        condition::{EXPIRING, READY, RECONCILING, Reason, SECRETS_READY, STALLED},
    },
    domain::event::Event,
};

/// What changed from one status to the next.
#[must_use]
pub fn of_status(old: Option<&PlatformEnvironmentStatus>, new: &PlatformEnvironmentStatus) -> Vec<Event> {
    let mut events = vec![];
    let before = |name: &str| old.and_then(|status| find(&status.conditions, name));
    let blocked = [STALLED, RECONCILING].into_iter().filter_map(|name| find(&new.conditions, name));
    for condition in blocked.filter(|condition| condition.reason != Reason::Terminating.as_str()) {
        if before(&condition.r#type).is_none_or(|old| old.reason != condition.reason) {
            events.push(Event {
                warning: !comes_by_itself(&condition.reason),
                reason: condition.reason.clone(),
                action: "Reconcile",
                note: condition.message.clone(),
            });
        }
    }
    let unknown = |condition: &&Condition| condition.status == ConditionStatus::Unknown;
    if let Some(secrets) = find(&new.conditions, SECRETS_READY).filter(unknown)
        && before(SECRETS_READY).is_none_or(|old| old.reason != secrets.reason)
    {
        let (reason, note) = (secrets.reason.clone(), secrets.message.clone());
        events.push(Event { warning: !comes_by_itself(&reason), reason, action: "Reconcile", note });
    }
    let was_blocked = before(READY).is_some_and(|ready| ready.status == ConditionStatus::False);
    if let Some(ready) =
        find(&new.conditions, READY).filter(|ready| was_blocked && ready.status == ConditionStatus::True)
    {
        events.push(Event {
            warning: false,
            reason: "Recovered".into(),
            action: "Reconcile",
            note: ready.message.clone(),
        });
    }
    if let (Some(expiring), None) = (find(&new.conditions, EXPIRING), before(EXPIRING)) {
        events.push(Event {
            warning: true,
            reason: expiring.reason.clone(),
            action: "Expire",
            note: expiring.message.clone(),
        });
    }
    events.extend(failed_release(old, new));
    let terminating = |status: &PlatformEnvironmentStatus| status.phase == Some(EnvironmentPhase::Terminating);
    if terminating(new) && !old.is_some_and(terminating) {
        let note = "The environment is being deleted with all that belongs to it".to_owned();
        events.push(Event { warning: false, reason: "Terminating".into(), action: "Delete", note });
    }
    events
}

/// The planner reported that the release is not healthy.
fn failed_release(old: Option<&PlatformEnvironmentStatus>, new: &PlatformEnvironmentStatus) -> Option<Event> {
    let state =
        |status: &PlatformEnvironmentStatus| status.release.as_ref().map(|release| (release.revision, release.state));
    let (revision, now) = state(new)?;
    if now != ReleaseState::Failed || old.and_then(state) == Some((revision, now)) {
        return None;
    }
    let details = old.and_then(|old| old.deployment.as_ref()).and_then(|report| report.message.as_ref());
    let details = details.map(|message| format!(": {message}")).unwrap_or_default();
    let note = format!("The planner reported that revision {revision} failed{details}");
    Some(Event { warning: true, reason: "DeploymentFailed".into(), action: "Deploy", note })
}

/// GitOps tools apply in any order, so what an environment starts from may be a moment late: no cause for alarm.
fn comes_by_itself(reason: &str) -> bool {
    let late = [Reason::BaseNotFound, Reason::BaseHasNoVersion, Reason::VersionNotFound, Reason::Progressing];
    late.iter().any(|late| late.as_str() == reason)
}

fn find<'a>(conditions: &'a [Condition], name: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.r#type == name)
}

/// A revision was made.
#[must_use]
pub fn of_revision(record: &EnvironmentRevisionSpec) -> Event {
    let version = record.version.as_ref().map_or("no version", |version| &version.name);
    let how = if record.cause == Cause::Cloned { "cloned" } else { "promoted" };
    let base = match (record.restores, &record.base) {
        (Some(restored), _) => format!(" restores revision {restored}"),
        (None, Some(base)) => format!(" {how} from {}-{}", base.environment, base.revision),
        (None, None) => String::new(),
    };
    let mut changed: Vec<String> = vec![];
    for (what, changes) in [("variables", &record.changes.variables), ("flags", &record.changes.flags)] {
        for (how, names) in [("added", &changes.added), ("removed", &changes.removed), ("changed", &changes.changed)] {
            if !names.is_empty() {
                changed.push(format!("{what} {how}: {}", names.join(", ")));
            }
        }
    }
    let changed = if changed.is_empty() { String::new() } else { format!("; {}", changed.join("; ")) };
    let note = format!("Revision {}{base}: {version}{changed}", record.revision);
    Event { warning: false, reason: record.cause.as_str().to_owned(), action: "Commit", note }
}

/// A child was put right after somebody changed or deleted it. A child that we ourselves intend otherwise, or that
/// was never there, is no news.
#[must_use]
pub fn of_repair(child: &ChildId, difference: &Difference, was_complete: bool) -> Option<Event> {
    let what = match difference {
        Difference::Changed { by: Some(by), .. } => format!("was changed by {by}"),
        Difference::Changed { by: None, .. } => "was changed".to_owned(),
        Difference::Missing if was_complete => "was missing".to_owned(),
        Difference::Missing | Difference::Outdated { .. } => return None,
    };
    let note = format!("{child} {what} and was put right");
    Some(Event { warning: true, reason: "DriftRepaired".into(), action: "Repair", note })
}

/// The namespace stays.
#[must_use]
pub fn of_retained(namespace: &str) -> Event {
    let note = format!(
        "The namespace {namespace} stays as it is, because deletionPolicy is Retain; nobody manages it any longer"
    );
    Event { warning: false, reason: "Retained".into(), action: "Delete", note }
}
