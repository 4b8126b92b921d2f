//! What the operator keeps in memory of a revision: enough to know the release, not its whole configuration.

use jiff::Timestamp;

use crate::{
    api::{Digest, EnvironmentRevision, EnvironmentRevisionSpec, Release, RevisionNumber, revision::VersionReference},
    domain::{
        canonical,
        environment::{children, config},
    },
};

/// A revision without its configuration, which is read live when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRecord {
    /// The environment's UID.
    pub environment_uid: Box<str>,
    /// The revision's number.
    pub number: RevisionNumber,
    /// The environment's generation that the revision was made for.
    pub generation: i64,
    /// The version, if any.
    pub version: Option<VersionReference>,
    /// The digest of the configuration.
    pub config_digest: Digest,
    /// The digest of what `spec.config` said.
    pub declared_digest: Digest,
    /// The digest of the variables; it names their `ConfigMap`.
    pub variables: Digest,
    /// The digest of the flags; it names their `ConfigMap`.
    pub flags: Digest,
    /// When the revision was made.
    pub timestamp: Timestamp,
    /// The record's own digest.
    pub digest: Digest,
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
            since: self.timestamp,
        }
    }
}

impl From<&EnvironmentRevisionSpec> for RevisionRecord {
    fn from(spec: &EnvironmentRevisionSpec) -> Self {
        Self {
            environment_uid: spec.environment_uid.as_str().into(),
            number: spec.revision,
            generation: spec.generation,
            version: spec.version.clone(),
            config_digest: spec.config_digest,
            declared_digest: canonical::digest(&spec.declared),
            variables: config::variables_digest(&spec.config),
            flags: config::flags_digest(&spec.config),
            timestamp: spec.timestamp,
            digest: spec.digest,
        }
    }
}

impl From<&EnvironmentRevision> for RevisionRecord {
    fn from(revision: &EnvironmentRevision) -> Self {
        Self::from(&revision.spec)
    }
}
