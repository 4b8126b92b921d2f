//! The next step towards what the spec says.
//!
//! [`plan`] looks at a snapshot and answers with one [`Step`]. Its order is the order of dependence: history before
//! the release that it proves, the namespace before what lies in it, isolation before the release pointer that
//! applications follow. Everything that may be done at once is in one [`Step::Act`].

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    children::{self, ChildId, ChildKind, Intent, Owner},
    intents::Intents,
    naming,
    release::{self, Proposal},
    snapshot::{Difference, Failure, Snapshot},
    status::{self, Findings},
    teardown, ttl,
};
use crate::{
    api::{
        EnvironmentRevisionSpec, FINALIZER, PlatformEnvironmentStatus, Release,
        condition::{self, Reason},
    },
    domain::revision::RevisionRecord,
    kube_ext::key::Uid,
};

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read this live and ask again.
    Read(Read),
    /// Do all of this, at once, and ask again.
    Act(Vec<Action>),
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
        Ok(None) => rest(snapshot, &findings, None),
        Err(hold) => rest(snapshot, &findings, Some(hold)),
    }
}

fn rest(snapshot: &Snapshot<'_>, findings: &Findings, hold: Option<Hold>) -> Step {
    let status = status::report(snapshot, findings, hold.as_ref());
    let wake = findings.expiry.map(|expiry| if snapshot.now < expiry.warn_at { expiry.warn_at } else { expiry.at });
    Step::Rest(Box::new(Rest { status, wake, retry: hold.is_some_and(|hold| hold.retry) }))
}

fn expired(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let Some(ttl) = snapshot.environment.spec.ttl.as_deref() else { return Ok(None) };
    let created = snapshot.environment.metadata.creation_timestamp.as_ref().map_or(snapshot.now, |time| time.0);
    let expiry = ttl::expiry(created, ttl)
        .map_err(|error| Hold::stalled(Reason::InvalidSpec, condition::READY, error.to_string()))?;
    findings.expiry = Some(expiry);
    Ok((snapshot.now >= expiry.at).then(|| Step::Act(vec![Action::DeleteEnvironment])))
}

/// The next step of an environment that shall exist; `None` when it is as intended.
fn forward(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<Option<Step>, Hold> {
    let namespace = naming::namespace(snapshot.project(), snapshot.name())
        .map_err(|error| Hold::stalled(Reason::InvalidName, condition::NAMESPACE_READY, error.to_string()))?;
    findings.namespace = Some(namespace.clone());
    let owner = owner(snapshot, &namespace);
    let intents = snapshot.memo.intents(snapshot, owner)?;
    findings.isolation = Some(intents.isolation.clone());
    let differing = repairs(snapshot, &intents.isolation_children);
    let namespace_is_intact = namespace_intact(snapshot, &intents.namespace);
    findings.namespace_intact = Some(namespace_is_intact);
    findings.isolation_intact = Some(namespace_is_intact && differing.as_ref().is_ok_and(Vec::is_empty));
    if let Some(failure) = snapshot.failures.first() {
        return Err(Hold::failed(failure));
    }
    if !has_finalizer(snapshot) {
        return Ok(Some(Step::Act(vec![Action::AddFinalizer])));
    }
    let proposal = release::propose(snapshot)?;
    if let Proposal::Read(name) = proposal {
        return Ok(Some(Step::Read(Read::Revision(name))));
    }
    if let Some(step) = namespace_step(snapshot, &intents.namespace)? {
        return Ok(Some(step));
    }
    release_step(snapshot, owner, &intents, proposal, differing?, findings)
}

/// The namespace is there. Isolation and the release's content go first, at once; then the pointer; then what is no
/// longer needed is cleared away.
fn release_step(
    snapshot: &Snapshot<'_>,
    owner: Owner<'_>,
    intents: &Intents,
    proposal: Proposal,
    mut actions: Vec<Action>,
    findings: &mut Findings,
) -> Result<Option<Step>, Hold> {
    let release = match proposal {
        Proposal::Read(name) => return Ok(Some(Step::Read(Read::Revision(name)))),
        Proposal::Keep(release) => release,
        Proposal::Commit(record) => {
            let content = children::release_children(owner, &release::of(&record), &record.config);
            actions.extend(repairs(snapshot, &content)?);
            actions.push(Action::CreateRevision(record));
            return Ok(Some(Step::Act(actions)));
        }
    };
    if !content_is_there(snapshot, &release) {
        let name = naming::revision(snapshot.name(), release.revision);
        let Some(revision) = snapshot.revisions.get(&name) else {
            return Ok(Some(Step::Read(Read::Revision(name))));
        };
        actions.extend(repairs(snapshot, &children::release_children(owner, &release, &revision.spec.config))?);
    }
    if !actions.is_empty() {
        return Ok(Some(Step::Act(actions)));
    }
    let pointer = children::release_pointer(owner, &release);
    let mut actions = repairs(snapshot, std::slice::from_ref(&pointer))?;
    if actions.is_empty() {
        findings.config_intact = Some(true);
        actions = obsolete(snapshot, intents, &release, &pointer);
    }
    Ok((!actions.is_empty()).then_some(Step::Act(actions)))
}

/// Whether the environment carries our finalizer.
#[must_use]
pub fn has_finalizer(snapshot: &Snapshot<'_>) -> bool {
    snapshot.environment.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whose children the intents are for.
fn owner<'a>(snapshot: &'a Snapshot<'_>, namespace: &'a str) -> Owner<'a> {
    Owner {
        project: snapshot.project(),
        environment: snapshot.name(),
        uid: snapshot.uid(),
        namespace,
        class: snapshot.environment.spec.class,
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
            Some(_) => Err(Hold::waiting(Reason::Terminating, condition::NAMESPACE_READY, message)),
        };
    }
    let actions = repairs(snapshot, std::slice::from_ref(namespace))?;
    Ok((!actions.is_empty()).then_some(Step::Act(actions)))
}

/// What has to be applied so that these children are as intended.
fn repairs(snapshot: &Snapshot<'_>, intents: &[Intent]) -> Result<Vec<Action>, Hold> {
    let mut actions = Vec::new();
    for intent in intents {
        if snapshot.child(&intent.id).is_some_and(|child| child.owned.is_none()) {
            return Err(not_ours(snapshot, &intent.id));
        }
        if let Some(difference) = snapshot.difference(intent) {
            actions.push(Action::Apply(intent.clone(), difference));
        }
    }
    Ok(actions)
}

/// The refusal to adopt what somebody else made.
fn not_ours(snapshot: &Snapshot<'_>, id: &ChildId) -> Hold {
    Hold::failed(&Failure::not_ours(id, snapshot.name()))
}

/// Whether both content `ConfigMaps` of the release exist. They are immutable and named by what they hold, so
/// existing is being right.
fn content_is_there(snapshot: &Snapshot<'_>, release: &Release) -> bool {
    [&release.variables, &release.flags]
        .into_iter()
        .all(|name| snapshot.child(&ChildId { kind: ChildKind::ConfigMap, name: name.clone() }).is_some())
}

/// Children that no spec asks for any longer. The content of the release before stays, for applications that have not
/// followed the pointer yet. Only what our own field manager applied is ever deleted.
fn obsolete(snapshot: &Snapshot<'_>, intents: &Intents, release: &Release, pointer: &Intent) -> Vec<Action> {
    let before = snapshot.previous.as_deref().map(RevisionRecord::release);
    let content =
        [Some(release), before.as_ref()].into_iter().flatten().flat_map(|kept| [&kept.variables, &kept.flags]);
    let content = content.map(|name| ChildId { kind: ChildKind::ConfigMap, name: name.clone() });
    let isolation =
        intents.isolation_children.iter().chain([&intents.namespace, pointer]).map(|intent| intent.id.clone());
    let wanted: BTreeSet<ChildId> = content.chain(isolation).collect();
    snapshot
        .children
        .iter()
        .filter(|child| !wanted.contains(&child.id) && child.mark.is_some() && !child.terminating)
        .map(|child| Action::Delete(child.id.clone(), child.uid.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
