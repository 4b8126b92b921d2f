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
    revision::{KeyChanges, RevisionNumber, VersionReference},
    rules::PromotionRules,
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
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release.state"),
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
    /// What has to hold before a promotion may move something in. Left out, everything may come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionRules>,
    /// How many revisions of the history are kept (2 to 1000). Older ones are deleted when the next one is made, but for
    /// the current one, the last one that was deployed well, and those that a veto rests on.
    #[serde(default = "revision_history_limit")]
    #[schemars(range(min = 2, max = 1000))]
    pub revision_history_limit: u32,
    /// What happens to the environment's namespace when the environment is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// As many as `git log` shows on a few screens.
#[must_use]
pub fn revision_history_limit() -> u32 {
    50
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.environment) != has(self.version)")
    .message("baseFrom names either an environment (clone it) or a version: give exactly one of them"))]
#[x_kube(validation = Rule::new("has(self.environment) || (!has(self.secrets) && !has(self.secretKeys))")
    .message("baseFrom.secrets and baseFrom.secretKeys say what becomes of a base environment's secrets: a version has none. Remove them, or give baseFrom.environment"))]
pub struct BaseFrom {
    /// The environment of the same project to clone: its current version and configuration come along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub environment: Option<String>,
    /// The PlatformVersion of the same project to start with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub version: Option<String>,
    /// What becomes of the base's secrets that secretKeys does not name. Left out: Regenerate. No value is ever shown to anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretStrategy>,
    /// What becomes of single secrets of the base, by the variable that refers to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secret_keys: Vec<SecretKeyStrategy>,
}

/// What a clone does with a secret of its base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SecretStrategy {
    /// A new random value, made by Vault, that nobody has seen. Of two keys in one secret, both are made anew.
    #[default]
    Regenerate,
    /// No value: somebody puts one into the environment's own place in Vault.
    Placeholder,
    /// The project's shared secret of the same path and key, which the environment may read and nobody copies. Environments of class
    /// Production share among themselves, and all others do.
    Reference,
    /// The base's value. Only where the platform team allows the operator to read secrets.
    Copy,
}

impl SecretStrategy {
    /// Its name as it stands in the spec.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regenerate => "Regenerate",
            Self::Placeholder => "Placeholder",
            Self::Reference => "Reference",
            Self::Copy => "Copy",
        }
    }
}

/// What a clone does with one secret of its base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyStrategy {
    /// The variable that refers to the secret, for example API_KEY.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// What becomes of it.
    pub strategy: SecretStrategy,
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
    /// What the Deployment Planner reported of the release. Written by the planner, never by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentReport>,
    /// Changes of spec.config that wait for a promotion (configChanges: Promoted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_config: Option<ConfigurationChanges>,
    /// Variables and flags whose value is another one than spec.config says, because a promotion or a rollback brought it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub diverged: Vec<DivergedKey>,
    /// Versions that were rolled back here. Nothing promotes them again until a newer version was released, or a promotion
    /// lifts the veto.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub vetoes: Vec<Veto>,
    /// Where the environment's secrets lie in Vault, and under which name it reads them. Absent while the operator manages no Vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultLocation>,
    /// The secrets that variables refer to, by variable: never a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub secrets: Vec<SecretStatus>,
    /// The isolation that applies: the class's preset, refined by spec.isolation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<EffectiveIsolation>,
    /// The state in detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where an environment's secrets lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VaultLocation {
    /// The mount of the KV engine, version 2.
    #[schemars(length(max = 128))]
    pub mount: String,
    /// The prefix below it. References of variables are relative to it.
    #[schemars(length(max = 256))]
    pub prefix: String,
    /// The policy, and the role of the Kubernetes auth method, that let the environment read its own secrets and no others.
    #[schemars(length(max = 128))]
    pub role: String,
    /// What a token of the environment's `ServiceAccount` has to be made for, to log in with that role.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub audience: String,
}

/// A secret that a variable refers to: where it is and whether it is there. Never its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretStatus {
    /// The variable.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its path below the mount.
    #[schemars(length(max = 512))]
    pub path: String,
    /// The key within it.
    #[schemars(length(max = 128))]
    pub key: String,
    /// What was done about it when the environment was cloned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<SecretStrategy>,
    /// Whether it has a value.
    pub state: SecretState,
    /// The Secret in the environment's namespace in which applications find it, where a secrets operator makes one; the key in it is
    /// the variable's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret: Option<String>,
}

/// Whether a secret has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretState {
    /// It has one.
    Ready,
    /// It has none: somebody has to put it into Vault.
    Missing,
    /// It had one and has none any more: somebody has to put it into Vault again. It is not made anew.
    Lost,
}

impl SecretState {
    /// Whether it has a value, or had one.
    #[must_use]
    pub fn was_there(self) -> bool {
        self != Self::Missing
    }
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
    /// What has become of the release.
    #[serde(default)]
    pub state: ReleaseState,
    /// When the release was made.
    #[schemars(with = "crate::api::crd::DateTime")]
    pub since: Timestamp,
}

/// What has become of a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseState {
    /// It is there to be deployed; nobody reported anything yet.
    #[default]
    ReadyForDeploy,
    /// The planner reported that it is deploying it.
    Deploying,
    /// The planner reported that it is deployed and healthy.
    Deployed,
    /// The planner reported that deploying it failed, or that it is not healthy any more.
    Failed,
}

/// What a Deployment Planner says of a revision. Write it to status.deployment, with kubectl for example:
/// kubectl patch penv staging --subresource=status --type=merge --patch '{"status":{"deployment":{…}}}'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentReport {
    /// The revision that was deployed: status.release.revision as the planner read it.
    pub revision: RevisionNumber,
    /// What has become of it.
    pub state: DeploymentState,
    /// Details for people: what failed, and where to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Who reports, as the API server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reported_by: Option<String>,
    /// When it was so, by the planner's clock. Of two reports the later one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub at: Option<Timestamp>,
}

/// What has become of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeploymentState {
    /// It is under way.
    InProgress,
    /// The revision is deployed and healthy.
    Succeeded,
    /// It failed, or the revision is not healthy any more.
    Failed,
}

/// Changes of variables and flags, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationChanges {
    /// Changes of variables.
    #[serde(default, skip_serializing_if = "KeyChanges::is_empty")]
    pub variables: KeyChanges,
    /// Changes of feature flags.
    #[serde(default, skip_serializing_if = "KeyChanges::is_empty")]
    pub flags: KeyChanges,
}

impl ConfigurationChanges {
    /// Whether no value changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.flags.is_empty()
    }
}

/// A key of spec.config that has another value in the environment than spec.config says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DivergedKey {
    /// Whether it is a variable or a flag.
    pub kind: KeyKind,
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The revision that brought the value; absent where the key was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionNumber>,
}

/// What a key of a configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum KeyKind {
    /// A variable.
    Variable,
    /// A feature flag.
    Flag,
}

/// A version that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Veto {
    /// The version.
    pub version: VersionReference,
    /// The revision that rolled it back.
    pub revision: RevisionNumber,
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
