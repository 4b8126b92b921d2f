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
    Publishing {
        /// Until when the planner has to report it all the same.
        until: Timestamp,
    },
    /// The planner has not reported the end of the deployment.
    Deploying {
        /// The revision that it has to report.
        revision: RevisionNumber,
        /// Until when.
        until: Timestamp,
        /// It reported that it has begun.
        begun: bool,
    },
    /// The deadline is over, and the planner has reported the end, which the environment has not written down yet. The
    /// write is what comes next, at no moment that is known.
    Reported {
        /// The revision that was reported.
        revision: RevisionNumber,
    },
    /// The target is being deleted, and the deployment with it: no report is written down any more.
    Terminating,
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

impl Outcome {
    /// Whether the deployment is at its end, answered or not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Publishing { .. }
            | Self::Deploying { .. }
            | Self::Reported { .. }
            | Self::Terminating
            | Self::Soaking { .. } => false,
            Self::Failed { .. } | Self::Succeeded | Self::Superseded { .. } => true,
        }
    }
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
    if let Some(answer) = target.history.after(made.number).find(|record| record.is_named(snapshot.name())) {
        let why = failure(made.number, outcome_of(snapshot, target, made).as_ref());
        return Outcome::Failed { why, answer: Answer::RolledBack(answer.number) };
    }
    let rules = target.rules().and_then(|rules| rules.deployment.clone()).unwrap_or_default();
    let soak = rules.soak.as_deref().and_then(duration::parse).unwrap_or_default();
    // Edits of the configuration that came after are the same version: what is reported of them counts as well.
    let overtaken = target.history.after(made.number).find(|record| takes_over(record));
    let before_it = |record: &&RevisionRecord| overtaken.is_none_or(|overtaken| record.number < overtaken.number);
    let later: Vec<&RevisionRecord> = target.history.after(made.number).map(AsRef::as_ref).filter(before_it).collect();
    let current = later.last().copied().unwrap_or(made);
    // Only what is written down in the revision counts: what a promotion ended on must still be known when people want to
    // go back to it. And what succeeded once has succeeded, whatever is reported of it later: an end that could be worked
    // out otherwise would not be final where the status is lost, or Git puts the promotion back.
    let soaked = |record: &RevisionRecord| {
        target.history.stretch(record, snapshot.now).is_some_and(|stretch| stretch.lasted >= soak)
    };
    if soaked(made) || later.iter().any(|record| soaked(record)) {
        return Outcome::Succeeded;
    }
    if let Some(overtaken) = overtaken {
        return Outcome::Superseded { by: overtaken.number };
    }
    let reported = current.outcome.clone();
    match reported {
        Some(outcome) if outcome.state == DeploymentState::Succeeded => soaking(snapshot, &outcome, soak),
        Some(outcome) if outcome.state == DeploymentState::Failed => {
            let why = failure(current.number, Some(&outcome));
            Outcome::Failed { why, answer: answer(target, made, &rules) }
        }
        reported => deploying(snapshot, target, (made, current), &rules, reported.is_some()),
    }
}

/// That a deployment failed, as far as possible in the planner's words.
fn failure(revision: RevisionNumber, outcome: Option<&DeploymentOutcome>) -> String {
    let failed = outcome.filter(|outcome| outcome.state == DeploymentState::Failed);
    let Some(outcome) = failed else { return format!("The deployment of revision {revision} failed or took too long") };
    let who = outcome.reported_by.as_deref().unwrap_or("the planner");
    let details = outcome.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("The deployment of revision {revision} failed, {who} reported{details}")
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
    if target.terminating() {
        return Outcome::Terminating;
    }
    let deadline = rules.deadline.as_deref().and_then(duration::parse).unwrap_or(DEADLINE);
    // One that was healthy and is deployed again has a deadline of its own.
    let starts = current.outcome.as_ref().and_then(|outcome| outcome.healthy_until).unwrap_or(current.timestamp);
    let until = starts.checked_add(deadline).unwrap_or(Timestamp::MAX);
    let status = target.environment.status.as_ref();
    let published = status.and_then(|status| status.release.as_ref()).map(|release| release.revision);
    let unwritten = outcome_of(snapshot, target, current);
    let is_about_to_end = unwritten.as_ref().is_some_and(|outcome| outcome.state != DeploymentState::InProgress);
    if snapshot.now >= until && is_about_to_end {
        return Outcome::Reported { revision: current.number };
    }
    if snapshot.now >= until {
        let why = format!("Nobody reported revision {} of {} deployed by {until}", current.number, target.name());
        return Outcome::Failed { why, answer: answer(target, made, rules) };
    }
    if published.is_none_or(|published| published < made.number) {
        return Outcome::Publishing { until };
    }
    Outcome::Deploying { revision: current.number, until, begun }
}

/// A rollback is never rolled back, so that nothing goes round in circles. Nor does a version come back by itself that
/// somebody rolled back, however well it was deployed. Into what is being deleted nothing comes back.
fn answer(target: &EnvironmentView, made: &RevisionRecord, rules: &DeploymentRules) -> Answer {
    if rules.on_failure == OnFailure::Hold || made.cause == Cause::RolledBack || target.terminating() {
        return Answer::Hold;
    }
    target.history.last_good_to_restore(made.number).map_or(Answer::Nowhere, |good| Answer::Restore(good.number))
}
