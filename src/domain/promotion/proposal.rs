//! What a promotion would do: the version and the configuration that the target would have afterwards.

use std::sync::Arc;

use serde_json::json;

use super::snapshot::{EnvironmentView, Snapshot};
use crate::{
    api::{
        Cause, Digest, EnvironmentRevision, RevisionNumber,
        promotion::{PromotionPhase, PromotionPlan},
        revision::{Changes, DeclaredConfiguration, EffectiveConfiguration, RevisionReference, VersionReference},
    },
    domain::{
        canonical,
        environment::{config, naming},
        revision::{RevisionRecord, chain},
    },
};

/// What would be there afterwards.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The target's newest revision: the one that the next would follow.
    pub base: Arc<RevisionRecord>,
    /// The configuration.
    pub config: EffectiveConfiguration,
    /// What of `spec.config` is taken into account.
    pub declared: DeclaredConfiguration,
    /// The generation of the target that `declared` is of.
    pub generation: i64,
    /// The revision that is restored.
    pub restores: Option<RevisionNumber>,
    /// In words and digests, for people to look at and to confirm.
    pub plan: PromotionPlan,
}

impl Proposal {
    /// Whether nothing would change.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        let version = |reference: &Option<VersionReference>| reference.as_ref().map(|reference| reference.digest);
        version(&self.plan.version) == version(&self.base.version)
            && self.plan.config_digest == self.base.config_digest
            && canonical::digest(&self.declared) == self.base.declared_digest
    }

    /// Whether the version is newer than the one that is there.
    #[must_use]
    pub fn goes_forwards(&self) -> bool {
        self.plan.version.as_ref().is_some_and(|version| self.base.is_older_than(version))
    }
}

/// Something that has to be read first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// A revision with its configuration, by name.
    Revision(String),
    /// What changes from one version's content (or from nothing) to another's.
    Diff(Option<VersionReference>, VersionReference),
}

/// Why there is no proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Something has to be read first.
    Needed(Needed),
    /// The promotion cannot go on; the phase says whether it may later.
    Problem(Problem),
}

/// Why a promotion cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `Pending` if it may go on by itself, else the end that it comes to.
    pub phase: PromotionPhase,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people, with the remedy.
    pub message: String,
}

impl Problem {
    /// What is missing may come by itself.
    #[must_use]
    pub fn pending(reason: &'static str, message: String) -> Self {
        Self { phase: PromotionPhase::Pending, reason, message }
    }

    /// The promotion asks for something that cannot be.
    #[must_use]
    pub fn rejected(reason: &'static str, message: String) -> Self {
        Self { phase: PromotionPhase::Rejected, reason, message }
    }
}

impl From<Problem> for Obstacle {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Works out what the promotion would do.
pub fn propose(snapshot: &Snapshot<'_>, target: &EnvironmentView) -> Result<Proposal, Obstacle> {
    let base = newest(target)?;
    let source = &snapshot.promotion.spec.source;
    let draft = if let Some(number) = source.revision {
        rollback(snapshot, target, &base, number)?
    } else if source.pending_config.is_some() {
        pending_config(snapshot, target, &base)?
    } else if let Some(name) = &source.version {
        Draft { version: Some(version(snapshot, name)?), ..Draft::of(snapshot, target, &base)? }
    } else {
        from_environment(snapshot, target, &base, source.environment.as_deref().unwrap_or_default())?
    };
    finish(snapshot, target, base, draft)
}

/// What would be there, before it is put into words.
struct Draft {
    cause: Cause,
    version: Option<VersionReference>,
    current: EffectiveConfiguration,
    config: EffectiveConfiguration,
    declared: DeclaredConfiguration,
    generation: i64,
    taken_from: Option<RevisionReference>,
    restores: Option<RevisionNumber>,
}

impl Draft {
    /// The target as it is.
    fn of(snapshot: &Snapshot<'_>, target: &EnvironmentView, base: &RevisionRecord) -> Result<Self, Obstacle> {
        let current = revision(snapshot, target.name(), base.number)?;
        Ok(Self {
            cause: Cause::Promoted,
            version: base.version.clone(),
            current: current.spec.config.clone(),
            config: current.spec.config.clone(),
            declared: current.spec.declared.clone(),
            generation: base.generation,
            taken_from: None,
            restores: None,
        })
    }
}

/// The newest revision of the target, in a history that can be read.
fn newest(target: &EnvironmentView) -> Result<Arc<RevisionRecord>, Problem> {
    let name = target.name();
    if let Some(revision) = &target.unreadable {
        let message = format!(
            "The EnvironmentRevision {revision} of the target cannot be read, so nothing can follow it; the environment \
             {name} says what to do"
        );
        return Err(Problem::pending("HistoryBroken", message));
    }
    let said = target.environment.status.as_ref().and_then(|status| status.release.as_ref());
    match target.history.newest() {
        None => {
            let message = format!("{name} has no revision yet; this goes on as soon as it is set up");
            Err(Problem::pending("TargetNotReady", message))
        }
        Some(newest) if said.is_some_and(|said| said.revision > newest.number) => {
            let message = format!(
                "The newest revision of {name} is missing: its history was cut, or is not known yet; the environment says \
                 what to do"
            );
            Err(Problem::pending("HistoryBroken", message))
        }
        Some(newest) => Ok(newest.clone()),
    }
}

/// The version that a revision of the target has. One that somebody is deleting is kept for exactly this.
fn kept_version(snapshot: &Snapshot<'_>, name: &str) -> Result<VersionReference, Problem> {
    snapshot.versions.get(name).map_or_else(|| version(snapshot, name), |version| Ok(version.reference.clone()))
}

/// The version of the project with this name.
fn version(snapshot: &Snapshot<'_>, name: &str) -> Result<VersionReference, Problem> {
    match snapshot.versions.get(name) {
        Some(version) if !version.terminating => Ok(version.reference.clone()),
        Some(_) => {
            let message = format!("The PlatformVersion {name} is being deleted; promote another version");
            Err(Problem::rejected("VersionTerminating", message))
        }
        None => {
            let message = format!(
                "There is no PlatformVersion {name} in this project; publish it, or cancel this promotion (spec.cancel)"
            );
            Err(Problem::pending("VersionNotFound", message))
        }
    }
}

fn from_environment(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    base: &Arc<RevisionRecord>,
    name: &str,
) -> Result<Draft, Obstacle> {
    let Some(source) = snapshot.environments.get(name) else {
        let message = format!(
            "There is no environment {name} in this project; create it, or cancel this promotion (spec.cancel)"
        );
        return Err(Problem::pending("SourceNotFound", message).into());
    };
    if source.terminating() {
        let message =
            format!("The source {name} is being deleted; promote from another environment, or a version by name");
        return Err(Problem::rejected("SourceTerminating", message).into());
    }
    let Some((newest, released)) =
        source.newest().and_then(|newest| newest.version.as_ref().map(|version| (newest, version)))
    else {
        let message =
            format!("{name} has no version yet, so there is nothing to promote; this goes on as soon as it has one");
        return Err(Problem::pending("SourceHasNoVersion", message).into());
    };
    // The version must still be there, with this very content: its digest is what everybody looked at.
    let known = version(snapshot, &released.name)?;
    if known.digest != released.digest {
        let message = format!(
            "The PlatformVersion {} is not the one that {name} runs: it was deleted and published anew with other content; \
             publish a version with another name",
            released.name
        );
        return Err(Problem::rejected("VersionReplaced", message).into());
    }
    let mut draft = Draft::of(snapshot, target, base)?;
    draft.version = Some(known);
    draft.taken_from = Some(RevisionReference { environment: name.to_owned(), revision: newest.number });
    if let Some(what) = &snapshot.promotion.spec.config {
        let from = untouched(snapshot, name, newest.number)?;
        draft.config = config::carried(&draft.current, &from.spec.config, what, base.number.next()).map_err(|missing| {
            let message = format!(
                "{name} does not have {}, which spec.config names; create the promotion anew with names that it has",
                missing.join(", ")
            );
            Problem::rejected("ConfigNotFound", message)
        })?;
    }
    Ok(draft)
}

fn rollback(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    base: &Arc<RevisionRecord>,
    number: RevisionNumber,
) -> Result<Draft, Obstacle> {
    let name = target.name();
    let kept = || {
        let numbers: Vec<String> = target.history.iter().map(|record| record.number.to_string()).collect();
        numbers.join(", ")
    };
    if number == base.number {
        let message = format!("{name} is at revision {number} already; its kept revisions are: {}", kept());
        return Err(Problem::rejected("RevisionIsCurrent", message).into());
    }
    let Some(record) = target.history.get(number) else {
        let message = format!("{name} has no revision {number}, or not any more; those that are kept are: {}", kept());
        return Err(Problem::rejected("RevisionNotFound", message).into());
    };
    if let Some(reference) = &record.version {
        let known = kept_version(snapshot, &reference.name)?;
        if known.digest != reference.digest {
            let message =
                format!("The PlatformVersion {} has other content than revision {number} says", reference.name);
            return Err(Problem::rejected("VersionReplaced", message).into());
        }
    }
    let earlier = untouched(snapshot, name, number)?.spec.config.clone();
    let mut draft = Draft::of(snapshot, target, base)?;
    draft.cause = Cause::RolledBack;
    draft.version.clone_from(&record.version);
    draft.config = config::restored(&draft.current, &earlier, base.number.next());
    draft.restores = Some(number);
    draft.taken_from = Some(RevisionReference { environment: name.to_owned(), revision: number });
    Ok(draft)
}

fn pending_config(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    base: &Arc<RevisionRecord>,
) -> Result<Draft, Obstacle> {
    let spec = &target.environment.spec.config;
    let mut draft = Draft::of(snapshot, target, base)?;
    draft.cause = Cause::ConfigChanged;
    draft.config = config::merge(spec, &draft.declared, &draft.current, base.number.next());
    draft.declared = config::declared(spec);
    draft.generation = target.environment.metadata.generation.unwrap_or_default();
    Ok(draft)
}

/// A revision that something is taken from: only from what nobody edited.
fn untouched<'a>(
    snapshot: &'a Snapshot<'_>,
    environment: &str,
    number: RevisionNumber,
) -> Result<&'a EnvironmentRevision, Obstacle> {
    let found = revision(snapshot, environment, number)?;
    if chain::is_sealed(&found.spec) {
        return Ok(found);
    }
    let name = naming::revision(environment, number);
    let message = format!(
        "The EnvironmentRevision {name} was edited: its digest does not fit its content, so nothing is taken from it; \
         restore it from a backup, or take another revision"
    );
    Err(Problem::rejected("RevisionEdited", message).into())
}

/// A revision with its configuration; asked for if it was not read yet.
fn revision<'a>(
    snapshot: &'a Snapshot<'_>,
    environment: &str,
    number: RevisionNumber,
) -> Result<&'a EnvironmentRevision, Obstacle> {
    let name = naming::revision(environment, number);
    match snapshot.revisions.get(&name) {
        Some(Some(revision)) => Ok(revision),
        None => Err(Obstacle::Needed(Needed::Revision(name))),
        Some(None) => {
            let message = format!("The EnvironmentRevision {name} is missing; {environment} says what to do");
            Err(Problem::pending("HistoryBroken", message).into())
        }
    }
}

fn finish(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    base: Arc<RevisionRecord>,
    draft: Draft,
) -> Result<Proposal, Obstacle> {
    let mut diff: Changes = config::changes(&draft.current, &draft.config);
    if let Some(version) = &draft.version {
        let before = base.version.as_ref().map(|version| version.digest);
        if before != Some(version.digest) {
            let known = snapshot.diffs.get(&(before, version.digest));
            let needed = || Obstacle::Needed(Needed::Diff(base.version.clone(), version.clone()));
            diff.content = known.cloned().ok_or_else(needed)?;
        }
    }
    let config_digest = config::digest(&draft.config);
    let digest = plan_digest(target, &base, &draft, &config_digest);
    let plan = PromotionPlan {
        cause: draft.cause,
        version: draft.version,
        config_digest,
        taken_from: draft.taken_from,
        replaces: base.version.clone(),
        diff,
        digest,
    };
    Ok(Proposal {
        base,
        config: draft.config,
        declared: draft.declared,
        generation: draft.generation,
        restores: draft.restores,
        plan,
    })
}

/// What a confirmation is to: where it goes, what is there, and what will be there. Not the revision's number: an edit
/// that changes nothing of these voids nobody's yes.
fn plan_digest(target: &EnvironmentView, base: &RevisionRecord, draft: &Draft, config_digest: &Digest) -> Digest {
    canonical::digest(&json!({
        "target": target.name(),
        "targetUid": target.uid(),
        "cause": draft.cause,
        "restores": draft.restores,
        "from": {"version": base.version, "config": base.config_digest},
        "to": {"version": draft.version, "config": config_digest, "declared": draft.declared},
    }))
}
