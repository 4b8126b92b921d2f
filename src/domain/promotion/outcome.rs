//! What becomes of a promotion after it moved: the deployment, as the planner reports it.

use jiff::{SignedDuration, Timestamp};

use super::snapshot::{EnvironmentView, Snapshot};
use crate::{
    api::{
        Cause, DeploymentState, RevisionNumber,
        revision::DeploymentOutcome,
        rules::{DeploymentRules, OnFailure},
    },
    domain::{
        duration,
        revision::{RevisionRecord, outcome},
    },
};

/// How long the planner may take, if the rules say nothing.
const DEADLINE: SignedDuration = SignedDuration::from_hours(1);

/// Where a promotion stands that has made a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The environment does not say its new release yet.
    Publishing,
    /// The planner has not reported the end of the deployment.
    Deploying {
        /// The revision that it has to report.
        revision: RevisionNumber,
        /// Until when.
        until: Timestamp,
        /// It reported that it has begun.
        begun: bool,
    },
    /// It is deployed, and must stay healthy until then.
    Soaking {
        /// Until when.
        until: Timestamp,
    },
    /// It is deployed and healthy.
    Succeeded,
    /// The deployment failed or took too long.
    Failed {
        /// Why.
        why: String,
        /// What comes of it.
        answer: Answer,
    },
    /// Another revision took its place before it was deployed.
    Superseded {
        /// The revision.
        by: RevisionNumber,
    },
}

/// What comes of a failed deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The release stays, and people decide.
    Hold,
    /// This revision is to be restored: the last one that was deployed well.
    Restore(RevisionNumber),
    /// It would be rolled back, and there is nothing to go back to.
    Nowhere,
    /// This revision rolled it back.
    RolledBack(RevisionNumber),
}

/// Where the promotion stands that made this revision.
#[must_use]
pub fn of(snapshot: &Snapshot<'_>, target: &EnvironmentView, made: &RevisionRecord) -> Outcome {
    if let Some(answer) = target.history.after(made.number).find(|record| record.is_made_by(snapshot.uid())) {
        let why = format!("The deployment of revision {} failed", made.number);
        return Outcome::Failed { why, answer: Answer::RolledBack(answer.number) };
    }
    let rules = target.rules().and_then(|rules| rules.deployment.clone()).unwrap_or_default();
    let soak = rules.soak.as_deref().and_then(duration::parse).unwrap_or_default();
    // Edits of the configuration that came after are the same version: what is reported of them counts as well.
    let overtaken = target.history.after(made.number).find(|record| takes_over(record));
    let before_it = |record: &&RevisionRecord| overtaken.is_none_or(|overtaken| record.number < overtaken.number);
    let later: Vec<&RevisionRecord> = target.history.after(made.number).map(AsRef::as_ref).filter(before_it).collect();
    let current = later.last().copied().unwrap_or(made);
    let reported = outcome_of(snapshot, target, current);
    let succeeded = |outcome: &Option<DeploymentOutcome>| {
        outcome.as_ref().is_some_and(|outcome| outcome.state == DeploymentState::Succeeded)
    };
    let chain = || std::iter::once(made).chain(later.iter().copied());
    if soak.is_zero() && (succeeded(&reported) || chain().any(|record| succeeded(&record.outcome))) {
        return Outcome::Succeeded;
    }
    if let Some(overtaken) = overtaken {
        return Outcome::Superseded { by: overtaken.number };
    }
    match reported {
        Some(outcome) if outcome.state == DeploymentState::Succeeded => soaking(snapshot, &outcome, soak),
        Some(outcome) if outcome.state == DeploymentState::Failed => {
            let details = outcome.message.map(|message| format!(": {message}")).unwrap_or_default();
            let who = outcome.reported_by.unwrap_or_else(|| "the planner".to_owned());
            let why = format!("The deployment of revision {} failed, {who} reported{details}", current.number);
            Outcome::Failed { why, answer: answer(target, made, &rules) }
        }
        reported => deploying(snapshot, target, (made, current), &rules, reported.is_some()),
    }
}

/// What is known of the deployment of a revision, a report included that is not in its status yet.
fn outcome_of(snapshot: &Snapshot<'_>, target: &EnvironmentView, record: &RevisionRecord) -> Option<DeploymentOutcome> {
    let newest = target.history.newest().is_some_and(|newest| newest.number == record.number);
    let report = target.environment.status.as_ref().and_then(|status| status.deployment.as_ref()).filter(|_| newest);
    outcome::after(record.number, record.outcome.as_ref(), report, snapshot.now).or_else(|| record.outcome.clone())
}

/// Whether this revision is a new release, and not an edit of the configuration.
fn takes_over(record: &RevisionRecord) -> bool {
    record.promotion.is_some() || matches!(record.cause, Cause::Promoted | Cause::RolledBack)
}

fn soaking(snapshot: &Snapshot<'_>, outcome: &DeploymentOutcome, soak: SignedDuration) -> Outcome {
    let until = outcome.healthy_since.unwrap_or(snapshot.now).checked_add(soak).unwrap_or(Timestamp::MAX);
    if snapshot.now >= until { Outcome::Succeeded } else { Outcome::Soaking { until } }
}

fn deploying(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    (made, current): (&RevisionRecord, &RevisionRecord),
    rules: &DeploymentRules,
    begun: bool,
) -> Outcome {
    let deadline = rules.deadline.as_deref().and_then(duration::parse).unwrap_or(DEADLINE);
    let until = current.timestamp.checked_add(deadline).unwrap_or(Timestamp::MAX);
    let status = target.environment.status.as_ref();
    let published = status.and_then(|status| status.release.as_ref()).map(|release| release.revision);
    if snapshot.now >= until {
        let why = format!("Nobody reported revision {} of {} deployed by {until}", current.number, target.name());
        return Outcome::Failed { why, answer: answer(target, made, rules) };
    }
    if published.is_none_or(|published| published < made.number) {
        return Outcome::Publishing;
    }
    Outcome::Deploying { revision: current.number, until, begun }
}

/// A rollback is never rolled back, so that nothing goes round in circles. Nor does a version come back by itself that
/// somebody rolled back, however well it was deployed.
fn answer(target: &EnvironmentView, made: &RevisionRecord, rules: &DeploymentRules) -> Answer {
    if rules.on_failure == OnFailure::Hold || made.cause == Cause::RolledBack {
        return Answer::Hold;
    }
    target.history.last_good_to_restore(made.number).map_or(Answer::Nowhere, |good| Answer::Restore(good.number))
}
