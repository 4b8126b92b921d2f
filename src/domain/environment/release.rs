//! The release: whether a new revision is due, and what it says.

use super::{
    config, limits, naming,
    plan::Hold,
    snapshot::{Base, BaseEnvironment, Snapshot, former_history},
};
use crate::{
    api::{
        ANNOTATION_CHANGED_BY, ANNOTATION_CREATED_BY, Cause, EnvironmentRevision, EnvironmentRevisionSpec, Release,
        RevisionNumber,
        condition::{self, Reason},
        environment::ConfigurationChanges,
        revision::{DeclaredConfiguration, EffectiveConfiguration, RevisionReference, VersionReference},
        rules::ConfigChanges,
    },
    domain::{
        canonical,
        revision::{RevisionRecord, chain, record, retention},
    },
};

/// What should become of the release.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// It is as it should be. Edits of `spec.config` may wait for a promotion.
    Keep(Box<Release>, Option<Box<ConfigurationChanges>>),
    /// Make this revision.
    Commit(Box<EnvironmentRevisionSpec>),
    /// Nobody can say before this revision, by name, was read.
    Read(String),
}

/// The release that a revision makes.
#[must_use]
pub fn of(record: &EnvironmentRevisionSpec) -> Release {
    RevisionRecord::from(record).release()
}

/// Compares the history with the spec.
pub fn propose(snapshot: &Snapshot<'_>) -> Result<Proposal, Hold> {
    if snapshot.former_history {
        let message = former_history(snapshot.name());
        return Err(Hold { retry: true, ..Hold::waiting(Reason::FormerHistory, condition::CONFIG_READY, message) });
    }
    if let Some(name) = &snapshot.unreadable {
        let message = format!(
            "The EnvironmentRevision {name} is not a record of this environment that can be read; the release stays as it \
             was. Restore it from a backup; or delete it, if somebody made it by hand"
        );
        return Err(Hold::stalled(Reason::HistoryBroken, condition::CONFIG_READY, message));
    }
    if let Some(name) = ahead_of_history(snapshot) {
        // What a live read finds is in the history at the next look.
        let found = read(snapshot, &name)?;
        return if found.is_none() { Ok(Proposal::Read(name)) } else { Err(not_in_history(&name)) };
    }
    match snapshot.latest() {
        None => first(snapshot),
        Some(latest) => following(snapshot, latest),
    }
}

/// A revision that was read live; `None` if it was not read yet.
pub fn read<'a>(snapshot: &'a Snapshot<'_>, name: &str) -> Result<Option<&'a EnvironmentRevision>, Hold> {
    match snapshot.revisions.get(name) {
        None => Ok(None),
        Some(Some(revision)) => Ok(Some(revision)),
        Some(None) => Err(not_in_history(name)),
    }
}

/// The name of the newest revision according to the status, if the history does not have it. Somebody deleted it, or
/// the cache is behind. To go by what is left would roll back without a word, and use a number twice.
fn ahead_of_history(snapshot: &Snapshot<'_>) -> Option<String> {
    let said = snapshot.environment.status.as_ref()?.release.as_ref()?.revision;
    let known = snapshot.latest().is_some_and(|latest| latest.number >= said);
    (!known).then(|| naming::revision(snapshot.name(), said))
}

fn not_in_history(name: &str) -> Hold {
    let message = format!(
        "The EnvironmentRevision {name} is missing: the history was cut. Restore it from a backup; or, to go on from the \
         newest revision that is left, remove status.release of this environment"
    );
    Hold { retry: true, ..Hold::stalled(Reason::HistoryBroken, condition::CONFIG_READY, message) }
}

/// What the first revision starts from.
struct Origin {
    cause: Cause,
    base: Option<RevisionReference>,
    version: Option<VersionReference>,
    config: EffectiveConfiguration,
}

fn first(snapshot: &Snapshot<'_>) -> Result<Proposal, Hold> {
    let nothing = EffectiveConfiguration::default();
    let origin = match &snapshot.base {
        Base::Nothing => Origin { cause: Cause::Created, base: None, version: None, config: nothing },
        Base::Version(name, None) => return Err(version_not_found(name)),
        Base::Version(_, version @ Some(_)) => {
            Origin { cause: Cause::Created, base: None, version: version.clone(), config: nothing }
        }
        Base::Environment(base) => match clone_of(snapshot, base)? {
            Ok(origin) => origin,
            Err(read) => return Ok(Proposal::Read(read)),
        },
    };
    let spec = &snapshot.environment.spec.config;
    let merged = config::merge(spec, &DeclaredConfiguration::default(), &origin.config, RevisionNumber::FIRST);
    let changes = config::changes(&origin.config, &merged);
    let whose = (snapshot.name(), snapshot.uid());
    commit(EnvironmentRevisionSpec {
        generation: generation(snapshot),
        base: origin.base,
        version: origin.version,
        config_digest: config::digest(&merged),
        config: merged,
        declared: config::declared(spec),
        changes,
        actor: actor(snapshot, ANNOTATION_CREATED_BY),
        ..record::begin(whose, RevisionNumber::FIRST, origin.cause, snapshot.now)
    })
}

fn version_not_found(name: &str) -> Hold {
    let message = format!(
        "spec.baseFrom.version: there is no PlatformVersion {name} in this project; publish it, or create the \
         environment anew from another version"
    );
    Hold::waiting(Reason::VersionNotFound, condition::CONFIG_READY, message)
}

/// The clone's origin, or the name of the base's revision that has to be read first.
fn clone_of(snapshot: &Snapshot<'_>, base: &BaseEnvironment) -> Result<Result<Origin, String>, Hold> {
    if let Some(circle) = &base.circle {
        let message = format!(
            "spec.baseFrom.environment: {} are cloned from each other in a circle, so none of them can start; delete \
             one of them and create it from nothing or from a version",
            circle.join(", ")
        );
        return Err(Hold::stalled(Reason::BaseCycle, condition::CONFIG_READY, message));
    }
    let waiting = |reason, message: String| Err(Hold::waiting(reason, condition::CONFIG_READY, message));
    let name = &base.name;
    if !base.exists {
        let message = format!(
            "spec.baseFrom.environment: there is no environment {name} in this project; create it, or create this \
             environment anew from another base"
        );
        return waiting(Reason::BaseNotFound, message);
    }
    if base.terminating {
        let message = format!(
            "spec.baseFrom.environment: {name} is being deleted and cannot be cloned any more; create this environment \
             anew from another base"
        );
        return waiting(Reason::BaseTerminating, message);
    }
    let Some(latest) = base.latest.as_ref().filter(|latest| latest.version.is_some()) else {
        let message = format!(
            "spec.baseFrom.environment: {name} has no version yet, so there is nothing to clone; this goes on as soon \
             as it has one"
        );
        return waiting(Reason::BaseHasNoVersion, message);
    };
    let revision = naming::revision(name, latest.number);
    let Some(record) = read(snapshot, &revision)? else { return Ok(Err(revision)) };
    if !chain::is_sealed(&record.spec) {
        let message = format!(
            "spec.baseFrom.environment: the EnvironmentRevision {revision} was edited: its digest does not fit its \
             content, so nothing is cloned from it. Restore it from a backup"
        );
        return Err(Hold::stalled(Reason::HistoryBroken, condition::CONFIG_READY, message));
    }
    Ok(Ok(Origin {
        cause: Cause::Cloned,
        base: Some(RevisionReference { environment: name.clone(), revision: latest.number }),
        version: record.spec.version.clone(),
        config: config::inherited(&record.spec.config),
    }))
}

fn following(snapshot: &Snapshot<'_>, latest: &RevisionRecord) -> Result<Proposal, Hold> {
    let spec = &snapshot.environment.spec.config;
    let declared = config::declared(spec);
    // A spec that is older than the one that the newest revision was made for comes from a cache that is behind. The
    // newer one is on its way.
    let behind = generation(snapshot) <= latest.generation;
    if behind || canonical::digest(&declared) == latest.declared_digest {
        return Ok(Proposal::Keep(Box::new(latest.release()), None));
    }
    let name = naming::revision(snapshot.name(), latest.number);
    let Some(current) = read(snapshot, &name)? else { return Ok(Proposal::Read(name)) };
    let number = latest.number.next();
    let merged = config::merge(spec, &current.spec.declared, &current.spec.config, number);
    let changes = config::changes(&current.spec.config, &merged);
    if changes_wait(snapshot) {
        let pending = ConfigurationChanges { variables: changes.variables, flags: changes.flags };
        return Ok(Proposal::Keep(Box::new(latest.release()), Some(Box::new(pending))));
    }
    let limit = snapshot.environment.spec.revision_history_limit;
    commit(EnvironmentRevisionSpec {
        generation: generation(snapshot),
        version: latest.version.clone(),
        config_digest: config::digest(&merged),
        changes,
        config: merged,
        declared,
        retained_from: retention::retained_from(&snapshot.history, limit),
        actor: actor(snapshot, ANNOTATION_CHANGED_BY),
        previous: Some(latest.digest),
        ..record::begin((snapshot.name(), snapshot.uid()), number, Cause::ConfigChanged, snapshot.now)
    })
}

/// The proposal to make this revision, if there is room for what it says.
fn commit(record: EnvironmentRevisionSpec) -> Result<Proposal, Hold> {
    if let Some(exceeded) = limits::exceeded(&record) {
        return Err(Hold::stalled(Reason::InvalidSpec, condition::CONFIG_READY, exceeded.to_string()));
    }
    Ok(Proposal::Commit(Box::new(chain::sealed(record))))
}

/// Whether edits of `spec.config` wait for a promotion.
fn changes_wait(snapshot: &Snapshot<'_>) -> bool {
    let spec = &snapshot.environment.spec;
    ConfigChanges::effective(spec.class, spec.promotion.as_ref()) == ConfigChanges::Promoted
}

fn generation(snapshot: &Snapshot<'_>) -> i64 {
    snapshot.environment.metadata.generation.unwrap_or_default()
}

/// Who acted, as the API server stamped it.
fn actor(snapshot: &Snapshot<'_>, annotation: &str) -> String {
    let annotations = snapshot.environment.metadata.annotations.as_ref();
    let stamped = annotations.and_then(|annotations| annotations.get(annotation));
    stamped.filter(|actor| !actor.is_empty()).map_or("unknown", String::as_str).chars().take(512).collect()
}
