//! What the operator keeps in memory of a revision: enough to know the release, not its whole configuration.

use jiff::Timestamp;

use crate::{
    api::{
        Cause, Digest, EnvironmentRevision, EnvironmentRevisionSpec, Release, RevisionNumber,
        environment::DivergedKey,
        revision::{
            Changes, DeclaredConfiguration, DeploymentOutcome, EffectiveConfiguration, PromotionReference,
            VersionReference,
        },
    },
    domain::{
        canonical,
        conditions::whole_seconds,
        environment::{children, config},
        revision::outcome,
        version::order,
    },
};

/// A record that says no more yet than whose it is.
#[must_use]
pub fn begin(
    (environment, environment_uid): (&str, &str),
    revision: RevisionNumber,
    cause: Cause,
    now: Timestamp,
) -> EnvironmentRevisionSpec {
    let nothing = Digest::of(b"");
    EnvironmentRevisionSpec {
        environment: environment.to_owned(),
        environment_uid: environment_uid.to_owned(),
        revision,
        generation: 0,
        cause,
        base: None,
        version: None,
        config: EffectiveConfiguration::default(),
        config_digest: nothing,
        declared: DeclaredConfiguration::default(),
        changes: Changes::default(),
        promotion: None,
        restores: None,
        vetoes: None,
        emergency: false,
        gates: vec![],
        plan_digest: None,
        confirmations: vec![],
        reason: None,
        retained_from: None,
        actor: "unknown".to_owned(),
        timestamp: whole_seconds(now),
        previous: None,
        digest: nothing,
    }
}

/// A revision without its configuration, which is read live when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRecord {
    /// The environment's UID.
    pub environment_uid: Box<str>,
    /// The revision's number.
    pub number: RevisionNumber,
    /// The environment's generation that the revision was made for.
    pub generation: i64,
    /// What made it.
    pub cause: Cause,
    /// The promotion that made it.
    pub promotion: Option<PromotionReference>,
    /// The version that it took back.
    pub vetoes: Option<VersionReference>,
    /// The version, if any.
    pub version: Option<VersionReference>,
    /// The digest of the configuration.
    pub config_digest: Digest,
    /// The digest of what `spec.config` said.
    pub declared_digest: Digest,
    /// Keys of `spec.config` that have another value than it said.
    pub diverged: Box<[DivergedKey]>,
    /// The digest of the variables; it names their `ConfigMap`.
    pub variables: Digest,
    /// The digest of the flags; it names their `ConfigMap`.
    pub flags: Digest,
    /// From where on the history was complete when this revision was made.
    pub retained_from: RevisionNumber,
    /// When the revision was made.
    pub timestamp: Timestamp,
    /// Who made it, or had it made.
    pub actor: Box<str>,
    /// The record's own digest.
    pub digest: Digest,
    /// How its deployment went, as far as it was reported.
    pub outcome: Option<DeploymentOutcome>,
}

impl RevisionRecord {
    /// The release that this revision made.
    #[must_use]
    pub fn release(&self) -> Release {
        Release {
            revision: self.number,
            version: self.version.as_ref().map(|version| version.name.clone()),
            version_digest: self.version.as_ref().map(|version| version.digest),
            config_digest: self.config_digest,
            variables: children::variables_name(&self.variables),
            flags: children::flags_name(&self.flags),
            state: outcome::release_state(self.outcome.as_ref()),
            since: self.timestamp,
        }
    }

    /// Whether it has this version, by content.
    #[must_use]
    pub fn has_version(&self, digest: &Digest) -> bool {
        self.version.as_ref().is_some_and(|version| version.digest == *digest)
    }

    /// Whether its version is older than this one. Where there is none yet, whatever comes is newer.
    #[must_use]
    pub fn is_older_than(&self, version: &VersionReference) -> bool {
        self.version.as_ref().is_none_or(|own| order::is_older(&own.name, &version.name))
    }

    /// Whether a promotion of this name made it.
    #[must_use]
    pub fn is_named(&self, promotion: &str) -> bool {
        self.promotion.as_ref().is_some_and(|made| made.name == promotion)
    }

    /// Whether this promotion made it, by UID.
    #[must_use]
    pub fn is_made_by(&self, promotion_uid: &str) -> bool {
        self.promotion.as_ref().is_some_and(|promotion| promotion.uid == promotion_uid)
    }
}

impl From<&EnvironmentRevisionSpec> for RevisionRecord {
    fn from(spec: &EnvironmentRevisionSpec) -> Self {
        Self {
            environment_uid: spec.environment_uid.as_str().into(),
            number: spec.revision,
            generation: spec.generation,
            cause: spec.cause,
            promotion: spec.promotion.clone(),
            vetoes: spec.vetoes.clone(),
            version: spec.version.clone(),
            config_digest: spec.config_digest,
            declared_digest: canonical::digest(&spec.declared),
            diverged: config::diverged(&spec.declared, &spec.config).into(),
            variables: config::variables_digest(&spec.config),
            flags: config::flags_digest(&spec.config),
            retained_from: spec.retained_from.unwrap_or(RevisionNumber::FIRST),
            actor: spec.actor.as_str().into(),
            timestamp: spec.timestamp,
            digest: spec.digest,
            outcome: None,
        }
    }
}

impl From<&EnvironmentRevision> for RevisionRecord {
    fn from(revision: &EnvironmentRevision) -> Self {
        let outcome = revision.status.as_ref().and_then(|status| status.deployment.clone());
        Self { outcome, ..Self::from(&revision.spec) }
    }
}
