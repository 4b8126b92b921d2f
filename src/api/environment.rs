//! `PlatformEnvironment`: the intent for one environment, and what has become of it.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    condition::Condition,
    config::Configuration,
    digest::Digest,
    isolation::{EffectiveIsolation, Isolation},
    revision::RevisionNumber,
};

/// The longest name of an environment: a namespace's name (63) less a one-letter project and the two hyphens between.
pub const MAX_NAME_LENGTH: usize = 60;

/// An environment of a no-code project: development, staging, production or a preview. It is to the project what a
/// branch is to a repository. The namespace it lies in is its project.
#[derive(Clone, Debug, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "platform.puraify.app",
    version = "v1alpha1",
    kind = "PlatformEnvironment",
    namespaced,
    status = "PlatformEnvironmentStatus",
    derive = "PartialEq",
    shortname = "penv",
    category = "platform",
    doc = "An environment of a no-code project: development, staging, production or a preview. It is to the project what a branch is to a repository. The namespace it lies in is its project.",
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.release.version"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.release.revision"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", priority = 1),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && !self.metadata.name.contains('--') && size(self.metadata.name) <= 60")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ' does not do for an environment: use up to 60 lower-case letters, digits and single hyphens, for example qa-2 (two hyphens in a row separate project and environment in the namespace name)'".into())),
    validation = Rule::new("self.spec.class != 'Production' || !has(self.spec.ttl)")
        .message("spec.ttl is not allowed with class Production: a production environment does not expire. Remove ttl, or choose another class").field_path(".spec.ttl"),
    validation = Rule::new("self.spec.class != 'Preview' || has(self.spec.ttl)")
        .message("spec.ttl is required with class Preview: say after how long the preview is deleted, for example 72h").field_path(".spec.ttl")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.baseFrom) == has(oldSelf.baseFrom) && (!has(self.baseFrom) || self.baseFrom == oldSelf.baseFrom)")
    .message("baseFrom is taken once, at creation, and cannot be changed: create another environment instead"))]
pub struct PlatformEnvironmentSpec {
    /// What the environment is for. The class decides the defaults of isolation: Development is open-ish, Production
    /// strict. It cannot be changed.
    #[x_kube(validation = Rule::new("self == oldSelf").message("class cannot be changed: create another environment, cloned from this one, instead"))]
    pub class: EnvironmentClass,
    /// What the environment starts from: the current version and configuration of another environment of the project,
    /// or a version. Taken once, at creation. Left out, the environment starts with nothing but its own config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_from: Option<BaseFrom>,
    /// How long the environment lives, counted from its creation, for example 72h or 1h30m (10s to 8760h). At the end
    /// it is deleted with all that belongs to it. It can be changed until then. Preview needs one; Production must not
    /// have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$') && duration(self) >= duration('10s') && duration(self) <= duration('8760h')")
        .message(Message::Expression("'ttl ' + self + ' is out of bounds: give 10s to 8760h (one year) in hours, minutes and seconds, for example 72h or 1h30m'".into())))]
    pub ttl: Option<String>,
    /// The environment's own configuration. A key that changes here changes in the environment; a key that is removed
    /// here is removed there; keys that came with the base stay until they are named here.
    #[serde(default)]
    pub config: Configuration,
    /// Refinements of what keeps the environment apart from its neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// What happens to the environment's namespace when the environment is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What an environment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EnvironmentClass {
    /// Where builders work.
    Development,
    /// Where a version is tested before it goes on.
    Staging,
    /// Where the users are.
    Production,
    /// A temporary environment for a demo, a review or a test.
    Preview,
}

impl EnvironmentClass {
    /// The class's name as it stands in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "Development",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Preview => "Preview",
        }
    }
}

/// What an environment starts from: exactly one of environment and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.environment) != has(self.version)")
    .message("baseFrom names either an environment (clone it) or a version: give exactly one of them"))]
pub struct BaseFrom {
    /// The environment of the same project to clone: its current version and configuration come along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    pub environment: Option<String>,
    /// The PlatformVersion of the same project to start with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub version: Option<String>,
}

/// What happens to the environment's namespace when the environment is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The namespace and all that is in it is deleted.
    #[default]
    Delete,
    /// The namespace stays with all that is in it, marked as retained; nobody manages it any longer.
    Retain,
}

/// What has become of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformEnvironmentStatus {
    /// The metadata.generation that this status was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Where the environment is in its life, in one word for people. Programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<EnvironmentPhase>,
    /// The namespace in which the environment's applications run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Where the environment can be visited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// When the environment will be deleted, if it has a ttl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub expires_at: Option<Timestamp>,
    /// What should run in the environment: its newest revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The isolation that applies: the class's preset, refined by spec.isolation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<EffectiveIsolation>,
    /// The state in detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What should run in an environment, with which configuration, since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The number of the EnvironmentRevision that made this release.
    pub revision: RevisionNumber,
    /// The version that should run; absent while the environment has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,
    /// The digest of that version's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_digest: Option<Digest>,
    /// The digest of the configuration.
    pub config_digest: Digest,
    /// The ConfigMap in the environment's namespace that holds the plain variables.
    #[schemars(length(max = 253))]
    pub variables: String,
    /// The ConfigMap in the environment's namespace that holds the feature flags.
    #[schemars(length(max = 253))]
    pub flags: String,
    /// When the release was made.
    #[schemars(with = "crate::api::crd::DateTime")]
    pub since: Timestamp,
}

/// Where an environment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EnvironmentPhase {
    /// It waits for something that it needs, or is being set up.
    Pending,
    /// It is as its spec says.
    Active,
    /// Something about it is not as its spec says.
    Degraded,
    /// It is active and will be deleted soon.
    Expiring,
    /// It is being deleted.
    Terminating,
}

impl EnvironmentPhase {
    /// The phase's name as it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Degraded => "Degraded",
            Self::Expiring => "Expiring",
            Self::Terminating => "Terminating",
        }
    }
}
