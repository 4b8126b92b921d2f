//! After the commit: the deployment is followed to its end, and a failed one is answered.

use jiff::SignedDuration;

use super::{Action, Step, rest, unchanged};
use crate::{
    api::{Digest, EnvironmentRevision, PromotionPhase, RevisionNumber, revision::VersionReference},
    domain::{
        environment::naming,
        promotion::{
            outcome::{self, Answer, Outcome},
            proposal::Needed,
            record,
            snapshot::{ContentDiff, EnvironmentView, Snapshot},
            status::Report,
        },
        revision::RevisionRecord,
    },
};

#[cfg(test)]
mod tests;

/// How long an environment may take to publish its new release before people are told that it has not.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

/// The next step of a promotion whose name has made a revision.
pub(super) fn follow(snapshot: &Snapshot<'_>, target: &EnvironmentView, made: &RevisionRecord) -> Step {
    let name = naming::revision(target.name(), made.number);
    let outcome = outcome::of(snapshot, target, made);
    let stored = snapshot.promotion.status.clone().unwrap_or_default();
    // One that Git put back follows a deployment that is on its way, and tells of the end that it has seen coming.
    let is_another = !made.is_made_by(snapshot.uid());
    if is_another && stored.revision != Some(made.number) && outcome.has_ended() {
        return done_before(snapshot, target, made);
    }
    // The environment takes a moment to publish it, and then there is more to say. Longer than that is worth a word.
    let has_just_moved = stored.phase.is_some() && stored.revision.is_none();
    let patience_ends = made.timestamp.checked_add(PATIENCE).unwrap_or(snapshot.now);
    if matches!(outcome, Outcome::Publishing { .. }) && has_just_moved && snapshot.now < patience_ends {
        return unchanged(snapshot, Some(patience_ends));
    }
    // What let it pass stands in the revision: told from there when it has just moved, or when the status was lost.
    let told_before = stored.plan.filter(|_| stored.revision == Some(made.number));
    let (plan, gates) = match (told_before, snapshot.revisions.get(&name)) {
        (Some(plan), _) => (Some(plan), stored.gates),
        (None, None) => return Step::Read(Needed::Revision(name)),
        (None, Some(None)) => (None, stored.gates),
        (None, Some(Some(revision))) => {
            let before = target.history.iter().find(|record| record.number < made.number);
            (Some(record::plan_of(&revision.spec, before.map(AsRef::as_ref))), revision.spec.gates.clone())
        }
    };
    // The answer is up to the promotion that made the revision: only of that one it is known that it has not ended before,
    // under rules that may have been others.
    if let Outcome::Failed { why, answer: Answer::Restore(good) } = &outcome
        && !is_another
    {
        return restore(snapshot, target, *good, why);
    }
    let mut report = told(target, made, outcome);
    (report.plan, report.gates, report.revision) = (plan, gates, Some(made.number));
    rest(snapshot, report)
}

/// A promotion of this name moved something before, and that has ended.
fn done_before(snapshot: &Snapshot<'_>, target: &EnvironmentView, made: &RevisionRecord) -> Step {
    let mut report = Report::before(PromotionPhase::Succeeded, "DoneBefore", moved_before(target, made));
    report.revision = Some(made.number);
    rest(snapshot, report)
}

/// A dry run whose name has moved something: it follows nothing, and above all answers nothing.
pub(super) fn dry_run(snapshot: &Snapshot<'_>, target: &EnvironmentView, made: &RevisionRecord) -> Step {
    let message = format!("It would not move: {}", moved_before(target, made));
    rest(snapshot, Report::before(PromotionPhase::DryRun, "DryRun", message))
}

fn moved_before(target: &EnvironmentView, made: &RevisionRecord) -> String {
    format!(
        "A promotion of this name made revision {} of {} before, and a name moves something once; use another name to \
         promote again",
        made.number,
        target.name()
    )
}

/// Where the promotion stands, in words.
fn told(target: &EnvironmentView, made: &RevisionRecord, outcome: Outcome) -> Report {
    let (name, number) = (target.name(), made.number);
    let version = made.version.as_ref().map_or("no version", |version| &version.name);
    let say = |phase: PromotionPhase, reason: &str, message: String| Report::before(phase, reason, message);
    match outcome {
        Outcome::Publishing { until } => {
            let message = format!("Revision {number} of {name} is made; the environment publishes it");
            Report { until: Some(until), ..say(PromotionPhase::Evaluating, "Publishing", message) }
        }
        Outcome::Deploying { revision, until, begun } => {
            let what = if begun { "the end of the deployment" } else { "the Deployment Planner's report" };
            let message = format!("{what} of revision {revision} of {name} (status.deployment), until {until}");
            Report { until: Some(until), ..say(PromotionPhase::ReadyForDeploy, "ReadyForDeploy", message) }
        }
        Outcome::Reported { revision } => {
            let message = format!(
                "the planner's report of revision {revision} of {name} to be written down; {name} says what is in the way"
            );
            say(PromotionPhase::ReadyForDeploy, "ReadyForDeploy", message)
        }
        Outcome::Terminating => {
            let message = format!("The target {name} is being deleted; this ends when it is gone");
            say(PromotionPhase::ReadyForDeploy, "TargetTerminating", message)
        }
        Outcome::Soaking { until } => {
            let message = format!("{version} is deployed in {name} and must stay healthy until {until}");
            Report { until: Some(until), ..say(PromotionPhase::Deployed, "Soaking", message) }
        }
        Outcome::Succeeded => {
            say(PromotionPhase::Succeeded, "Succeeded", format!("{version} is deployed in {name} (revision {number})"))
        }
        Outcome::Superseded { by } => say(
            PromotionPhase::Superseded,
            "Superseded",
            format!("Revision {by} of {name} took the place of revision {number} before its deployment had ended"),
        ),
        Outcome::Failed { why, answer } => {
            let (message, rolled_back_by) = match answer {
                Answer::RolledBack(by) => (format!("{why}; revision {by} rolled it back"), Some(by)),
                Answer::Nowhere => (
                    format!("{why}; no earlier revision was reported as deployed, so there is nothing to roll back to"),
                    None,
                ),
                Answer::Hold if target.terminating() => (format!("{why}; {name} is being deleted"), None),
                Answer::Hold | Answer::Restore(_) => {
                    (format!("{why}; the release stays: promote another version, or roll back (source.revision)"), None)
                }
            };
            Report { rolled_back_by, ..say(PromotionPhase::Failed, "DeploymentFailed", message) }
        }
    }
}

/// Answers a failed deployment with the last good revision.
fn restore(snapshot: &Snapshot<'_>, target: &EnvironmentView, good: RevisionNumber, why: &str) -> Step {
    let Some(newest) = target.history.newest().cloned() else { return unchanged(snapshot, None) };
    let read = |number: RevisionNumber| {
        let name = naming::revision(target.name(), number);
        snapshot.revisions.get(&name).ok_or(Step::Read(Needed::Revision(name)))
    };
    let (good, current) = match (read(good), read(newest.number)) {
        (Err(step), _) | (_, Err(step)) => return step,
        (Ok(Some(good)), Ok(Some(current))) => (good, current),
        (Ok(_), Ok(_)) => {
            let message = format!("{why}; revision {good} of {} is missing, so it was not rolled back", target.name());
            let mut report = Report::before(PromotionPhase::Failed, "RevisionGone", message);
            let stored = snapshot.promotion.status.clone().unwrap_or_default();
            (report.plan, report.gates, report.revision) = (stored.plan, stored.gates, stored.revision);
            return rest(snapshot, report);
        }
    };
    let diff = match restored_diff(snapshot, &newest, good) {
        Ok(diff) => diff,
        Err(step) => return step,
    };
    let answer = record::answer(snapshot, target, (&newest, current), good, diff, why);
    Step::Act(Action::Commit(Box::new(answer)))
}

fn restored_diff(
    snapshot: &Snapshot<'_>,
    newest: &RevisionRecord,
    good: &EnvironmentRevision,
) -> Result<ContentDiff, Step> {
    let digest =
        |version: &Option<VersionReference>| -> Option<Digest> { version.as_ref().map(|version| version.digest) };
    let (from, to) = (digest(&newest.version), &good.spec.version);
    let Some(to) = to.as_ref().filter(|to| Some(to.digest) != from) else { return Ok(ContentDiff::default()) };
    let known = snapshot.diffs.get(&(from, to.digest)).cloned();
    known.ok_or_else(|| Step::Read(Needed::Diff(newest.version.clone(), to.clone())))
}
