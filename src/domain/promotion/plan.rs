//! The next step of a promotion.
//!
//! [`plan`] looks at a snapshot and answers with one [`Step`]. Before it has moved anything: work out what it would do,
//! evaluate all gates, show both, and, if all gates let it pass, look at everything live once more and commit. After
//! that: follow the deployment to its end.
//!
//! The commit is the creation of the target's next revision. The API server lets one creation of a name win; who loses
//! sees the other's revision and plans anew. An end is final, so it too is only ever decided on live reads.

use jiff::Timestamp;

use super::{
    gates::{self, Finding, Input, Turn},
    proposal::{self, Needed, Obstacle, Problem, Proposal},
    record,
    snapshot::{EnvironmentView, Snapshot, is_auto},
    status::{self, Report},
};
use crate::{
    api::{
        ANNOTATION_ENDED, EnvironmentRevisionSpec, GateState, GateType, PromotionPhase, PromotionStatus,
        RevisionNumber, condition::READY,
    },
    domain::{duration, environment::limits},
};

mod follow;
#[cfg(test)]
mod tests;

/// The reason of a promotion whose write the API server refused.
const WRITE_FAILED: &str = "WriteFailed";

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read this and ask again.
    Read(Needed),
    /// Look at everything live and ask again.
    Refresh,
    /// Do this and ask again.
    Act(Action),
    /// Nothing is left to do for now.
    Rest(Rest),
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Show the plan and the gates before anything moves.
    Show(Box<PromotionStatus>),
    /// The commit: make this the target's newest revision.
    Commit(Box<EnvironmentRevisionSpec>),
    /// Mark the promotion as ended.
    MarkEnd(PromotionPhase),
    /// It has ended and its time is over.
    Delete,
}

/// The report of a plan that has nothing left to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    /// The status to report.
    pub status: Box<PromotionStatus>,
    /// When to look again although nothing changed.
    pub wake: Option<Timestamp>,
    /// Nobody will tell us when what is in the way ends: try again after a while.
    pub retry: bool,
}

/// The next step of this promotion.
#[must_use]
pub fn plan(snapshot: &Snapshot<'_>) -> Step {
    let stored = snapshot.promotion.status.as_ref();
    if snapshot.promotion.metadata.deletion_timestamp.is_some() {
        return unchanged(snapshot, None);
    }
    if stored.and_then(|status| status.phase).is_some_and(PromotionPhase::is_terminal) && !moved_after_all(snapshot) {
        return ended(snapshot);
    }
    if let Some(refusal) = snapshot.refusal {
        return refused(snapshot, refusal);
    }
    let moved = stored.and_then(|status| status.revision);
    if let Some(step) = ended_before(snapshot, moved) {
        return once_read_live(snapshot, step);
    }
    if let Some(step) = unreadable(snapshot) {
        return step;
    }
    let step = match snapshot.target() {
        None => no_target(snapshot, moved),
        Some(target) => match target.history.made_by_name(snapshot.name()).cloned() {
            Some(made) if snapshot.promotion.spec.dry_run => follow::dry_run(snapshot, target, &made),
            Some(made) => follow::follow(snapshot, target, &made),
            None if moved.is_some() => lost(snapshot, moved),
            None => advance(snapshot, target),
        },
    };
    once_read_live(snapshot, step)
}

/// An end is final: nothing that was seen from afar alone may bring it about. Nor a commit.
fn once_read_live(snapshot: &Snapshot<'_>, step: Step) -> Step {
    match &step {
        Step::Rest(rest) if rest.status.phase.is_some_and(PromotionPhase::is_terminal) && !snapshot.fresh => {
            Step::Refresh
        }
        Step::Act(Action::Commit(_)) if !snapshot.fresh => Step::Refresh,
        _ => step,
    }
}

fn rest(snapshot: &Snapshot<'_>, report: Report) -> Step {
    // A moment that has passed would wake it at once, and at once again.
    let wake = report.until.filter(|until| *until > snapshot.now);
    let mut status = Box::new(status::of(snapshot, report));
    let ttl = status.finished_at.and_then(|finished| expiry(snapshot, finished));
    if status.phase.is_some_and(PromotionPhase::is_terminal) {
        status.until = None;
    }
    Step::Rest(Rest { status, wake: ttl.or(wake), retry: false })
}

fn unchanged(snapshot: &Snapshot<'_>, wake: Option<Timestamp>) -> Step {
    let status = snapshot.promotion.status.clone().map(status::ours).unwrap_or_default();
    Step::Rest(Rest { status: Box::new(status), wake, retry: false })
}

/// Its end says that it moved nothing, and the history says otherwise: one operator ended it while another one, that did
/// not know why yet, moved it. The history is right, also against the mark of that end.
fn moved_after_all(snapshot: &Snapshot<'_>) -> bool {
    let told = snapshot.promotion.status.as_ref().and_then(|status| status.revision);
    told.is_none() && made(snapshot).is_some() && !snapshot.promotion.spec.dry_run
}

/// The revision of this name in the target's history.
fn made(snapshot: &Snapshot<'_>) -> Option<RevisionNumber> {
    snapshot.target()?.history.made_by_name(snapshot.name()).map(|made| made.number)
}

/// It is marked as ended, and what it said then was lost.
fn ended_before(snapshot: &Snapshot<'_>, moved: Option<RevisionNumber>) -> Option<Step> {
    let moved = moved.or(made(snapshot));
    // Only what has moved something fails. Against any other mark a revision is right.
    let phase = marked_end(snapshot).filter(|phase| moved.is_none() || *phase == PromotionPhase::Failed)?;
    let message = format!("It ended as {} before; what it said then was lost", phase.as_str());
    Some(rest(snapshot, Report { revision: moved, ..Report::before(phase, "EndedBefore", message) }))
}

/// It has ended: all that can come is the end of its time.
fn ended(snapshot: &Snapshot<'_>) -> Step {
    if let Some(phase) = unmarked_end(snapshot) {
        return Step::Act(Action::MarkEnd(phase));
    }
    let finished = snapshot.promotion.status.as_ref().and_then(|status| status.finished_at);
    match finished.and_then(|finished| expiry(snapshot, finished)) {
        Some(expiry) if expiry <= snapshot.now => Step::Act(Action::Delete),
        wake => unchanged(snapshot, wake),
    }
}

/// An end that nothing else tells of once the status is lost: no revision, nor the spec. It is marked on the promotion itself,
/// so that nothing that has ended ever begins anew. A failure that nobody answered is such an end as well: the planner may
/// report something else since, and the rules may be others.
fn unmarked_end(snapshot: &Snapshot<'_>) -> Option<PromotionPhase> {
    let status = snapshot.promotion.status.as_ref()?;
    let spec = &snapshot.promotion.spec;
    let moved_nothing = status.revision.is_none() && !spec.dry_run && !spec.cancel;
    let is_held = status.phase == Some(PromotionPhase::Failed) && status.rolled_back_by.is_none();
    let untold = moved_nothing || is_held;
    status.phase.filter(|phase| phase.is_terminal() && untold && marked_end(snapshot).is_none())
}

/// The end that is marked on the promotion.
fn marked_end(snapshot: &Snapshot<'_>) -> Option<PromotionPhase> {
    let text = snapshot.promotion.metadata.annotations.as_ref()?.get(ANNOTATION_ENDED)?;
    serde_json::from_value(serde_json::Value::String(text.clone()))
        .ok()
        .filter(|phase: &PromotionPhase| phase.is_terminal())
}

/// When an ended promotion goes. One that was made by itself and that somebody cancelled stays: it would come again. Any
/// other comes again only if its version is still due.
fn expiry(snapshot: &Snapshot<'_>, finished: Timestamp) -> Option<Timestamp> {
    let spec = &snapshot.promotion.spec;
    let moved_nothing = snapshot.promotion.status.as_ref().is_some_and(|status| status.revision.is_none());
    if is_auto(snapshot.promotion) && spec.cancel && moved_nothing {
        return None;
    }
    finished.checked_add(duration::parse(spec.ttl_after_finished.as_deref()?)?).ok()
}

/// The API server refused a write: what was said stays said, and the refusal with it.
fn refused(snapshot: &Snapshot<'_>, refusal: &str) -> Step {
    let stored = snapshot.promotion.status.clone().unwrap_or_default();
    // One that says something else each time would start the next try at once: once is enough.
    if stored.conditions.iter().any(|condition| condition.r#type == READY && condition.reason == WRITE_FAILED) {
        return match unchanged(snapshot, None) {
            Step::Rest(rest) => Step::Rest(Rest { retry: true, ..rest }),
            other => other,
        };
    }
    let phase = stored.phase.unwrap_or(PromotionPhase::Evaluating);
    let mut report = Report::before(phase, WRITE_FAILED, refusal.to_owned());
    report.plan = stored.plan;
    report.gates = stored.gates;
    report.revision = stored.revision;
    report.queue_position = stored.queue_position;
    match rest(snapshot, report) {
        Step::Rest(rest) => Step::Rest(Rest { retry: true, ..rest }),
        other => other,
    }
}

/// What cannot be read is neither there nor gone: nothing is decided before somebody mends it.
fn unreadable(snapshot: &Snapshot<'_>) -> Option<Step> {
    let spec = &snapshot.promotion.spec;
    // What has moved does not look at its source any more.
    let source = spec.source.environment.as_ref().filter(|_| made(snapshot).is_none());
    let what = [Some(&spec.target), source].into_iter().flatten().find_map(|name| {
        if snapshot.undecodable.contains(name) {
            return Some(format!("The environment {name} cannot be read"));
        }
        let revision = snapshot.environments.get(name)?.unreadable.as_ref()?;
        Some(format!("The EnvironmentRevision {revision} cannot be read"))
    })?;
    let stored = snapshot.promotion.status.clone().unwrap_or_default();
    let phase = stored.phase.unwrap_or(PromotionPhase::Pending);
    let mut report = Report::before(phase, "Unreadable", format!("{what}; the environment says what to do"));
    (report.plan, report.gates, report.revision) = (stored.plan, stored.gates, stored.revision);
    Some(rest(snapshot, report))
}

fn no_target(snapshot: &Snapshot<'_>, moved: Option<RevisionNumber>) -> Step {
    if moved.is_some() {
        return lost(snapshot, moved);
    }
    if snapshot.promotion.spec.cancel {
        return cancelled(snapshot);
    }
    let target = &snapshot.promotion.spec.target;
    let message =
        format!("There is no environment {target} in this project; create it, or cancel this promotion (spec.cancel)");
    let phase = if snapshot.promotion.spec.dry_run { PromotionPhase::DryRun } else { PromotionPhase::Pending };
    rest(snapshot, Report::before(phase, "TargetNotFound", message))
}

/// It made a revision that is not in the target's history.
fn lost(snapshot: &Snapshot<'_>, moved: Option<RevisionNumber>) -> Step {
    let target = &snapshot.promotion.spec.target;
    let number = moved.map_or_else(String::new, |number| number.to_string());
    let message =
        format!("{target} does not have revision {number} any more: the environment was deleted, or its history cut");
    let mut report = Report::before(PromotionPhase::Failed, "RevisionGone", message);
    report.revision = moved;
    let stored = snapshot.promotion.status.clone().unwrap_or_default();
    (report.plan, report.gates) = (stored.plan, stored.gates);
    rest(snapshot, report)
}

fn cancelled(snapshot: &Snapshot<'_>) -> Step {
    let mut report =
        Report::before(PromotionPhase::Cancelled, "Cancelled", "It was cancelled before it moved anything".to_owned());
    let stored = snapshot.promotion.status.clone().unwrap_or_default();
    (report.plan, report.gates) = (stored.plan, stored.gates);
    rest(snapshot, report)
}

/// The next step of a promotion that has not moved anything.
fn advance(snapshot: &Snapshot<'_>, target: &EnvironmentView) -> Step {
    if snapshot.promotion.spec.cancel {
        return cancelled(snapshot);
    }
    if target.terminating() {
        let message = format!("The target {} is being deleted", target.name());
        return rest(snapshot, Report::before(PromotionPhase::Rejected, "TargetTerminating", message));
    }
    let (proposal, problem) = match proposal::propose(snapshot, target) {
        Ok(proposal) => (Some(proposal), None),
        Err(Obstacle::Problem(problem)) => (None, Some(problem)),
        Err(Obstacle::Needed(needed)) => return Step::Read(needed),
    };
    let input = Input { snapshot, target, proposal: proposal.as_ref() };
    let (findings, turn) = (gates::evaluate(input), gates::turn(input));
    let verdict = verdict(snapshot, target, proposal.as_ref(), problem.as_ref(), &findings, &turn);
    let mut report = match verdict {
        Verdict::Say(report) => *report,
        Verdict::Move(proposal) => return move_on(snapshot, target, proposal, &findings),
    };
    report.plan = proposal.map(|proposal| proposal.plan);
    report.gates = status::gates(snapshot, &findings);
    report.queue_position = status::position(&turn);
    report.until = findings.iter().filter_map(|finding| finding.until).min();
    rest(snapshot, report)
}

enum Verdict<'a> {
    Say(Box<Report>),
    Move(&'a Proposal),
}

fn verdict<'a>(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    proposal: Option<&'a Proposal>,
    problem: Option<&Problem>,
    findings: &[Finding],
    turn: &Turn,
) -> Verdict<'a> {
    let say = |phase, reason: &str, message| Verdict::Say(Box::new(Report::before(phase, reason, message)));
    let failed = findings.iter().find(|finding| finding.state == GateState::Failed);
    let nothing = proposal.filter(|proposal| proposal.changes_nothing());
    if snapshot.promotion.spec.dry_run {
        return say(PromotionPhase::DryRun, "DryRun", dry_run(problem, findings, nothing.is_some()));
    }
    if let Turn::Superseded(by) = turn {
        return say(PromotionPhase::Superseded, "Superseded", format!("The newer promotion {by} takes its place"));
    }
    if let Some(problem) = problem.filter(|problem| problem.phase.is_terminal()) {
        return say(problem.phase, problem.reason, problem.message.clone());
    }
    if let Some(failed) = failed {
        return say(PromotionPhase::Rejected, failed.reason, status::sentences(findings, GateState::Failed));
    }
    if let Some(problem) = problem {
        return say(problem.phase, problem.reason, problem.message.clone());
    }
    // Only once nothing is on its way any more that could change it.
    if let (Some(proposal), Turn::Mine) = (nothing, turn) {
        let message =
            format!("Nothing to do: {} has exactly that since revision {}", target.name(), proposal.base.number);
        return say(PromotionPhase::Succeeded, "UpToDate", message);
    }
    let pending: Vec<&Finding> = findings.iter().filter(|finding| !finding.state.lets_pass()).collect();
    match (proposal, pending.as_slice()) {
        (Some(proposal), []) => Verdict::Move(proposal),
        (Some(_), [only]) if only.gate == GateType::Confirmations => {
            say(PromotionPhase::AwaitingConfirmation, only.reason, only.message.clone())
        }
        (_, pending) => {
            let reason = pending.first().map_or("Evaluating", |first| first.reason);
            say(PromotionPhase::Evaluating, reason, status::sentences(findings, GateState::Pending))
        }
    }
}

fn dry_run(problem: Option<&Problem>, findings: &[Finding], nothing: bool) -> String {
    if let Some(problem) = problem {
        return format!("It would not move: {}", problem.message);
    }
    if nothing {
        return "It would change nothing".to_owned();
    }
    let failed = status::sentences(findings, GateState::Failed);
    if !failed.is_empty() {
        return format!("It would be rejected: {failed}");
    }
    let pending = status::sentences(findings, GateState::Pending);
    if pending.is_empty() { "It would move at once".to_owned() } else { format!("It would wait: {pending}") }
}

/// All gates let it pass: show what will happen, then make it happen.
fn move_on(snapshot: &Snapshot<'_>, target: &EnvironmentView, proposal: &Proposal, findings: &[Finding]) -> Step {
    let gates = status::gates(snapshot, findings);
    let record = record::commit(snapshot, target, proposal, gates.clone());
    if let Some(exceeded) = limits::exceeded(&record) {
        let report = Report::before(PromotionPhase::Rejected, "ConfigTooLarge", exceeded.to_string());
        return rest(snapshot, Report { plan: Some(proposal.plan.clone()), gates, ..report });
    }
    let stored = snapshot.promotion.status.as_ref();
    let shown = stored.and_then(|status| status.plan.as_ref()).is_some_and(|plan| *plan == proposal.plan);
    if !shown {
        let mut report = Report::before(
            PromotionPhase::Evaluating,
            "Moving",
            "All gates let it pass; it is about to move".to_owned(),
        );
        (report.plan, report.gates, report.queue_position) = (Some(proposal.plan.clone()), gates, Some(0));
        return Step::Act(Action::Show(Box::new(status::of(snapshot, report))));
    }
    Step::Act(Action::Commit(Box::new(record)))
}
