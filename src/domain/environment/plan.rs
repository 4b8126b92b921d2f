//! The next step towards what the spec says.
//!
//! [`plan`] looks at a snapshot and answers with one [`Step`]. Its order is the order of dependence: history before
//! the release that it proves, the namespace before what lies in it, isolation before the release pointer that
//! applications follow. Everything that may be done at once is in one [`Step::Act`].

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;

use super::{
    children::{self, ChildId, ChildKind, Intent, Owner},
    intents::Intents,
    naming,
    release::{self, Proposal},
    secrets,
    snapshot::{Child, Difference, Failure, Snapshot},
    status::{self, Findings},
    teardown, ttl,
};
use crate::{
    api::{
        EnvironmentRevisionSpec, FINALIZER, PlatformEnvironmentStatus, Promotion, Release, RevisionNumber,
        condition::{self, Reason},
        revision::DeploymentOutcome,
    },
    domain::{
        promotion::auto,
        revision::{outcome, retention},
        uid::Uid,
        vault::{Change, Query},
    },
};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read this live and ask again.
    Read(Read),
    /// Do all of this, at once, and ask again.
    Act(Vec<Action>),
    /// Look into Vault and ask again.
    LookIntoVault(Box<Query>),
    /// Change all of this in Vault, one after the other, and ask again.
    ChangeVault(Vec<Change>),
    /// Nothing is left to do for now: report, and sleep until something changes.
    Rest(Box<Rest>),
}

/// What a plan may need that is not kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A revision with its configuration, by name.
    Revision(String),
    /// What the environment's namespace says about its deletion.
    Namespace,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make sure that the environment stays until its namespace is gone.
    AddFinalizer,
    /// Let the environment go.
    RemoveFinalizer,
    /// The ttl is over.
    DeleteEnvironment,
    /// Make a child as it should be.
    Apply(Intent, Difference),
    /// Delete a child.
    Delete(ChildId, Uid),
    /// Mark the namespace as retained and stop managing it.
    RetainNamespace(Uid),
    /// The commit: make this the newest revision.
    CreateRevision(Box<EnvironmentRevisionSpec>),
    /// Delete the environment's history.
    DeleteRevisions,
    /// Delete revisions that the history needs no longer.
    PruneRevisions(Vec<RevisionNumber>),
    /// Write down how the deployment of a revision goes.
    RecordOutcome(RevisionNumber, DeploymentOutcome),
    /// A promotion is due by itself.
    CreatePromotion(Box<Promotion>),
}

/// As it follows "it still wants to".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(Read::Revision(name)) => write!(f, "read EnvironmentRevision {name}"),
            Self::Read(Read::Namespace) => f.write_str("read the namespace"),
            Self::Act(actions) => f.write_str(&listed(actions)),
            Self::LookIntoVault(_) => f.write_str("look into Vault"),
            Self::ChangeVault(changes) => f.write_str(&listed(changes)),
            Self::Rest(_) => f.write_str("rest"),
        }
    }
}

fn listed(all: &[impl fmt::Display]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddFinalizer => f.write_str("add the finalizer"),
            Self::RemoveFinalizer => f.write_str("remove the finalizer"),
            Self::DeleteEnvironment => f.write_str("delete the environment"),
            Self::Apply(intent, _) => write!(f, "apply {}", intent.id),
            Self::Delete(child, _) => write!(f, "delete {child}"),
            Self::RetainNamespace(_) => f.write_str("retain the namespace"),
            Self::CreateRevision(record) => write!(f, "create revision {}", record.revision),
            Self::DeleteRevisions => f.write_str("delete the revisions"),
            Self::PruneRevisions(numbers) => write!(f, "delete {} old revisions", numbers.len()),
            Self::RecordOutcome(number, _) => write!(f, "write down how the deployment of revision {number} went"),
            Self::CreatePromotion(promotion) => write!(f, "create promotion to {}", promotion.spec.target),
        }
    }
}

/// The report of a plan that has nothing left to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    /// The status to report.
    pub status: PlatformEnvironmentStatus,
    /// When to look again although nothing changed.
    pub wake: Option<Timestamp>,
    /// Something failed or is missing whose change nobody will tell us of: try again after a while, ever more slowly.
    pub retry: bool,
}

/// Why a plan cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// One word for programs.
    pub reason: Reason,
    /// A sentence for people, with the remedy.
    pub message: String,
    /// Whether only a person can end it.
    pub stalled: bool,
    /// The condition that it is about.
    pub concern: &'static str,
    /// Nobody will tell us when it ends.
    pub retry: bool,
}

impl Hold {
    /// Only a person can end this.
    #[must_use]
    pub fn stalled(reason: Reason, concern: &'static str, message: String) -> Self {
        Self { reason, message, stalled: true, concern, retry: false }
    }

    /// This may end by itself.
    #[must_use]
    pub fn waiting(reason: Reason, concern: &'static str, message: String) -> Self {
        Self { reason, message, stalled: false, concern, retry: false }
    }

    fn failed(failure: &Failure) -> Self {
        let concern = match failure.kind {
            Some(ChildKind::Namespace) => condition::NAMESPACE_READY,
            Some(ChildKind::ConfigMap) | None => condition::CONFIG_READY,
            Some(kind) if kind.brings_secrets() => condition::SECRETS_READY,
            Some(_) => condition::ISOLATED,
        };
        let stalled = failure.reason == Reason::NotOurs;
        Self { reason: failure.reason, message: failure.message.clone(), stalled, concern, retry: true }
    }
}

/// The next step for this environment.
#[must_use]
pub fn plan(snapshot: &Snapshot<'_>) -> Step {
    if snapshot.environment.metadata.deletion_timestamp.is_some() {
        return teardown::plan(snapshot);
    }
    let mut findings = Findings::default();
    let step = expired(snapshot, &mut findings).and_then(|step| match step {
        None => forward(snapshot, &mut findings),
        expired => Ok(expired),
    });
    match step {
        Ok(Some(step)) => step,
        Ok(None) => Step::Rest(Box::new(rest(snapshot, &findings, None))),
        Err(hold) => Step::Rest(Box::new(rest(snapshot, &findings, Some(hold)))),
    }
}

/// The report of a plan that did not come to rest within so many steps, although the spec stayed the same.
#[must_use]
pub fn restless(snapshot: &Snapshot<'_>, steps: usize) -> Rest {
    let step = match plan(snapshot) {
        Step::Rest(rest) => return *rest,
        step => step,
    };
    let message = format!(
        "After {steps} steps the operator is not done; it still wants to {step}. Unless somebody undoes what it does as \
         fast as it does it, this is a defect of the operator: please report it with this message"
    );
    let hold = Hold { retry: true, ..Hold::stalled(Reason::OperatorDefect, condition::READY, message) };
    let mut findings = Findings::default();
    if snapshot.environment.metadata.deletion_timestamp.is_none() {
        // For what they find out. Where they lead is known.
        drop(expired(snapshot, &mut findings));
        drop(forward(snapshot, &mut findings));
    }
    rest(snapshot, &findings, Some(hold))
}

fn rest(snapshot: &Snapshot<'_>, findings: &Findings, hold: Option<Hold>) -> Rest {
    let status = status::report(snapshot, findings, hold.as_ref());
    let expiry = findings.expiry.map(|expiry| if snapshot.now < expiry.warn_at { expiry.warn_at } else { expiry.at });
    let wake = expiry.into_iter().chain(findings.look_again).min();
    Rest { status, wake, retry: findings.retry || hold.is_some_and(|hold| hold.retry) }
}

fn expired(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let Some(ttl) = snapshot.environment.spec.ttl.as_deref() else { return Ok(None) };
    let created = snapshot.environment.metadata.creation_timestamp.as_ref().map_or(snapshot.now, |time| time.0);
    let expiry = ttl::expiry(created, ttl)
        .map_err(|error| Hold::stalled(Reason::InvalidSpec, condition::READY, error.to_string()))?;
    findings.expiry = Some(expiry);
    if snapshot.now < expiry.at {
        return Ok(None);
    }
    match snapshot.failures.first() {
        Some(failure) => Err(Hold { concern: condition::READY, ..Hold::failed(failure) }),
        None => Ok(Some(Step::Act(vec![Action::DeleteEnvironment]))),
    }
}

/// The next step of an environment that shall exist; `None` when it is as intended.
///
/// What is in the way of one thing stops what depends on it, and nothing else.
fn forward(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let namespace = naming::namespace(snapshot.project(), snapshot.name())
        .map_err(|error| Hold::stalled(Reason::InvalidName, condition::NAMESPACE_READY, error.to_string()))?;
    findings.namespace = Some(namespace.clone());
    let owner = owner(snapshot, &namespace);
    let intents = snapshot.memo.intents(snapshot, owner);
    findings.isolation = Some(intents.isolation.clone());
    let isolation = isolation_work(snapshot, &intents);
    let namespace_is_intact = namespace_intact(snapshot, &intents.namespace);
    findings.namespace_intact = Some(namespace_is_intact);
    findings.isolation_intact = Some(namespace_is_intact && isolation.is_done() && intents.refused.is_none());
    if let Some(failure) = snapshot.failures.first() {
        return Err(Hold::failed(failure));
    }
    if !has_finalizer(snapshot) {
        return Ok(Some(Step::Act(vec![Action::AddFinalizer])));
    }
    // What was reported of the release depends on nothing else, and other environments wait for it.
    if let Some(action) = reported(snapshot) {
        return Ok(Some(Step::Act(vec![action])));
    }
    let proposal = release::propose(snapshot);
    if let Ok(Proposal::Read(name)) = proposal {
        return Ok(Some(Step::Read(Read::Revision(name))));
    }
    let started = snapshot.latest().is_some();
    if let (false, Err(hold)) = (started, &proposal) {
        return Err(hold.clone());
    }
    if let Some(step) = namespace_step(snapshot, &intents.namespace)? {
        return Ok(Some(step));
    }
    if let Some(step) = release_step(snapshot, owner, proposal, isolation, findings)? {
        return Ok(Some(step));
    }
    // Applications may follow the release while Vault is away: it comes last, and is in nobody's way.
    if let Some(step) = secrets::step(snapshot, owner, findings)? {
        return Ok(Some(step));
    }
    intents.refused.clone().map_or(Ok(None), Err)
}

/// The namespace is there. Isolation and the release's content go first, at once; then the commit; then the pointer
/// that applications follow; then content that nobody needs any longer is cleared away.
fn release_step(
    snapshot: &Snapshot<'_>,
    owner: Owner<'_>,
    proposal: Result<Proposal, Hold>,
    isolation: Work,
    findings: &mut Findings,
) -> Result<Option<Step>, Hold> {
    let mut work = isolation;
    match &proposal {
        Ok(Proposal::Commit(record)) => {
            work.add(repairs(snapshot, &children::release_children(owner, &release::of(record), &record.config)));
        }
        Ok(Proposal::Keep(release, _)) if !content_is_there(snapshot, release) => {
            let name = naming::revision(snapshot.name(), release.revision);
            let Some(revision) = release::read(snapshot, &name)? else {
                return Ok(Some(Step::Read(Read::Revision(name))));
            };
            work.add(repairs(snapshot, &children::release_children(owner, release, &revision.spec.config)));
        }
        _ => {}
    }
    if let Some(step) = work.step()? {
        return Ok(Some(step));
    }
    match proposal? {
        Proposal::Read(name) => Ok(Some(Step::Read(Read::Revision(name)))),
        Proposal::Commit(record) => {
            findings.config_intact = Some(false);
            Ok(Some(Step::Act(vec![Action::CreateRevision(record)])))
        }
        Proposal::Keep(release, pending) => {
            findings.pending_config = pending.map(|pending| *pending);
            let pointer = children::release_pointer(owner, &release);
            let pointing = repairs(snapshot, std::slice::from_ref(&pointer));
            findings.config_intact = Some(pointing.is_done());
            match pointing.step()? {
                None => Ok(follow_up(snapshot, &release, &pointer)),
                step => Ok(step),
            }
        }
    }
}

/// What the planner reported of the newest revision and is not written down yet.
fn reported(snapshot: &Snapshot<'_>) -> Option<Action> {
    let report = snapshot.environment.status.as_ref()?.deployment.as_ref();
    let latest = snapshot.latest()?;
    let outcome = outcome::after(latest.number, latest.outcome.as_ref(), report, snapshot.now)?;
    Some(Action::RecordOutcome(latest.number, outcome))
}

/// The release is published. What nobody needs any longer is cleared away, and what is due by itself is asked for.
fn follow_up(snapshot: &Snapshot<'_>, release: &Release, pointer: &Intent) -> Option<Step> {
    let mut actions = surplus_content(snapshot, release, pointer).actions;
    let surplus = retention::surplus(&snapshot.history, &snapshot.on_their_way);
    if !surplus.is_empty() {
        actions.push(Action::PruneRevisions(surplus));
    }
    let due = snapshot.auto.as_ref().and_then(|inputs| auto::due(snapshot.environment, &snapshot.history, inputs));
    actions.extend(due.map(|promotion| Action::CreatePromotion(Box::new(promotion))));
    (!actions.is_empty()).then_some(Step::Act(actions))
}

/// Whether the environment carries our finalizer.
#[must_use]
pub fn has_finalizer(snapshot: &Snapshot<'_>) -> bool {
    snapshot.environment.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whose children the intents are for.
pub(super) fn owner<'a>(snapshot: &'a Snapshot<'_>, namespace: &'a str) -> Owner<'a> {
    Owner {
        project: snapshot.project(),
        environment: snapshot.name(),
        uid: snapshot.uid(),
        namespace,
        class: snapshot.environment.spec.class,
    }
}

/// Writes that are due, and the first thing that is in the way of one.
#[derive(Default)]
pub(super) struct Work {
    pub(super) actions: Vec<Action>,
    pub(super) hold: Option<Hold>,
}

impl Work {
    pub(super) fn is_done(&self) -> bool {
        self.actions.is_empty() && self.hold.is_none()
    }

    fn add(&mut self, other: Self) {
        self.actions.extend(other.actions);
        self.hold = self.hold.take().or(other.hold);
    }

    /// All that can be done comes before what is in the way is told.
    pub(super) fn step(self) -> Result<Option<Step>, Hold> {
        if !self.actions.is_empty() {
            return Ok(Some(Step::Act(self.actions)));
        }
        self.hold.map_or(Ok(None), Err)
    }
}

fn namespace_intact(snapshot: &Snapshot<'_>, namespace: &Intent) -> bool {
    snapshot.child(&namespace.id).is_some_and(|child| !child.terminating) && snapshot.difference(namespace).is_none()
}

/// The namespace first: everything else lies in it. One that is being deleted by somebody must be gone before it can be
/// made again.
fn namespace_step(snapshot: &Snapshot<'_>, namespace: &Intent) -> Result<Option<Step>, Hold> {
    if snapshot.child(&namespace.id).is_some_and(|child| child.terminating) {
        let message = format!(
            "Somebody is deleting the namespace {}; it is made again as soon as it is gone{}",
            namespace.id.name,
            teardown::what_holds(snapshot),
        );
        return match snapshot.namespace {
            None => Ok(Some(Step::Read(Read::Namespace))),
            Some(_) => {
                Err(Hold { retry: true, ..Hold::waiting(Reason::Terminating, condition::NAMESPACE_READY, message) })
            }
        };
    }
    repairs(snapshot, std::slice::from_ref(namespace)).step()
}

/// What keeps the environment apart and gives access: made as intended, and taken away where nothing asks for it any
/// longer.
fn isolation_work(snapshot: &Snapshot<'_>, intents: &Intents) -> Work {
    let mut work = repairs(snapshot, &intents.isolation_children);
    let wanted: BTreeSet<&ChildId> = intents.isolation_children.iter().map(|intent| &intent.id).collect();
    let isolates = |child: &Child| {
        !matches!(child.id.kind, ChildKind::Namespace | ChildKind::ConfigMap) && !child.id.kind.brings_secrets()
    };
    work.actions.extend(deletions(snapshot, |child| isolates(child) && !wanted.contains(&child.id)));
    work
}

/// Content that nothing needs: not the release, nor the one before it, for applications that have not followed the
/// pointer yet, nor the last one that was deployed well, to which people may want to go back.
fn surplus_content(snapshot: &Snapshot<'_>, release: &Release, pointer: &Intent) -> Work {
    let kept = [snapshot.history.previous(), snapshot.history.last_good()].into_iter().flatten();
    let kept: Vec<Release> = kept.map(|record| record.release()).chain([release.clone()]).collect();
    let mut wanted: BTreeSet<&str> =
        kept.iter().flat_map(|kept| [kept.variables.as_str(), kept.flags.as_str()]).collect();
    wanted.insert(&pointer.id.name);
    let surplus = |child: &Child| child.id.kind == ChildKind::ConfigMap && !wanted.contains(child.id.name.as_str());
    Work { actions: deletions(snapshot, surplus).collect(), hold: None }
}

/// Only what our own field manager applied is ever deleted.
pub(super) fn deletions<'a>(
    snapshot: &'a Snapshot<'_>,
    which: impl Fn(&Child) -> bool + 'a,
) -> impl Iterator<Item = Action> + 'a {
    let ours = |child: &&Child| child.mark.is_some() && child.owned.is_some() && !child.terminating;
    let chosen = snapshot.children.iter().filter(ours).filter(move |child| which(child));
    chosen.map(|child| Action::Delete(child.id.clone(), child.uid.clone()))
}

/// What has to be applied so that these children are as intended. What somebody else made is never adopted.
pub(super) fn repairs(snapshot: &Snapshot<'_>, intents: &[Intent]) -> Work {
    let mut work = Work::default();
    for intent in intents {
        if snapshot.child(&intent.id).is_some_and(|child| child.owned.is_none()) {
            work.hold.get_or_insert_with(|| Hold::failed(&Failure::not_ours(&intent.id, snapshot.name())));
        } else if let Some(difference) = snapshot.difference(intent) {
            work.actions.push(Action::Apply(intent.clone(), difference));
        }
    }
    work
}

/// Whether both content `ConfigMaps` of the release are there, as we made them. They are immutable and named by what
/// they hold, so no more than that has to be looked at.
fn content_is_there(snapshot: &Snapshot<'_>, release: &Release) -> bool {
    [&release.variables, &release.flags].into_iter().all(|name| {
        let child = snapshot.child(&ChildId { kind: ChildKind::ConfigMap, name: name.clone() });
        child.is_some_and(|child| child.mark.is_some() && child.owned.is_some())
    })
}

#[cfg(test)]
mod tests;
