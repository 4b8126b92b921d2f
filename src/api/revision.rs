//! `EnvironmentRevision`: one immutable record of what an environment had, from when, by whose act, and why.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    config::VaultReference,
    digest::Digest,
    environment::DeploymentState,
    promotion::{Confirmation, Gate},
};

/// The number of a revision within its environment: 1, 2, 3, … Order comes from it, never from names or clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionNumber(u32);

impl RevisionNumber {
    /// The first revision of an environment.
    pub const FIRST: Self = Self(1);

    /// This number. Revisions count from 1; 0 is no revision.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number as it is.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RevisionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for RevisionNumber {
    fn schema_name() -> Cow<'static, str> {
        "RevisionNumber".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32})
    }
}

/// One record in an environment's history: what a commit is to a branch. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "platform.puraify.app",
    version = "v1alpha1",
    kind = "EnvironmentRevision",
    namespaced,
    status = "EnvironmentRevisionStatus",
    derive = "PartialEq",
    shortname = "erev",
    category = "platform",
    doc = "One record in an environment's history: what a commit is to a branch. It never changes.",
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".spec.revision"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".spec.cause"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version.name"),
    printcolumn(name = "Deployed", type_ = "string", json_path = ".status.deployment.state"),
    printcolumn(name = "Actor", type_ = "string", json_path = ".spec.actor"),
    printcolumn(name = "At", type_ = "string", json_path = ".spec.timestamp"),
    selectable = ".spec.environment",
    validation = Rule::new("self.metadata.name.startsWith(self.spec.environment + '-')")
        .message("a revision's name is its environment and its number, for example staging-7")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("history cannot be changed"))]
pub struct EnvironmentRevisionSpec {
    /// The environment's name.
    #[schemars(length(min = 1, max = 60))]
    pub environment: String,
    /// The environment's UID: an environment that was deleted and made again has another history.
    #[schemars(length(min = 1, max = 64))]
    pub environment_uid: String,
    /// The number of this revision within the environment.
    pub revision: RevisionNumber,
    /// The metadata.generation of the environment that this revision was made for. Who knows an older one knows an
    /// older spec, and makes no revision of it.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// What made this revision.
    pub cause: Cause,
    /// The environment and revision that this one was cloned or promoted from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<RevisionReference>,
    /// The version; absent while the environment has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionReference>,
    /// The complete configuration that applies from this revision on.
    pub config: EffectiveConfiguration,
    /// The digest of that configuration: of names and values, not of where they came from.
    pub config_digest: Digest,
    /// What spec.config of the environment said when this revision was made, a digest for each key. The next change
    /// is found by comparing with it.
    pub declared: DeclaredConfiguration,
    /// What changed against the revision before, or against the base for the first one.
    pub changes: Changes,
    /// The promotion that made this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionReference>,
    /// The revision whose version and configuration a rollback restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<RevisionNumber>,
    /// The version that a rollback took back. Nothing promotes it again until a newer one was released, or a promotion
    /// lifts the veto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vetoes: Option<VersionReference>,
    /// An emergency rollback: past the queue and without confirmations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// The gates that let it pass, each with what it rested on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub gates: Vec<Gate>,
    /// The digest of the promotion's plan: what was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<Digest>,
    /// The yeses that it was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub confirmations: Vec<Confirmation>,
    /// Why, in the words of who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// From this revision on the history is complete when this one is made; older ones may have been deleted because of
    /// revisionHistoryLimit. Absent: it is complete from the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_from: Option<RevisionNumber>,
    /// Who made the change, as stamped by the API server; unknown where nothing stamps it.
    #[schemars(length(min = 1, max = 512))]
    pub actor: String,
    /// When the revision was made.
    #[schemars(with = "crate::api::crd::DateTime")]
    pub timestamp: Timestamp,
    /// The digest of the revision before; absent in the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The digest of this record: RFC 8785 and SHA-256 over all fields but this one.
    pub digest: Digest,
}

/// What makes a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cause {
    /// The environment was created, from nothing or from a version.
    Created,
    /// The environment was created as a clone of another one.
    Cloned,
    /// spec.config of the environment was edited.
    ConfigChanged,
    /// A promotion brought a version, or configuration of another environment.
    Promoted,
    /// An earlier revision was restored.
    RolledBack,
}

impl Cause {
    /// The cause's name as it stands in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Cloned => "Cloned",
            Self::ConfigChanged => "ConfigChanged",
            Self::Promoted => "Promoted",
            Self::RolledBack => "RolledBack",
        }
    }
}

/// The promotion that made a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PromotionReference {
    /// The Promotion's name. It never makes another revision of this environment.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Promotion's UID.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// What has become of a revision after it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentRevisionStatus {
    /// How its deployment went, as the Deployment Planner reported it while it was the newest revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentOutcome>,
}

/// How the deployment of a revision went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentOutcome {
    /// What has become of it.
    pub state: DeploymentState,
    /// The planner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Who reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reported_by: Option<String>,
    /// The planner's time of the report that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub at: Option<Timestamp>,
    /// Since when it has been healthy, by the operator's clock: soak times count from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub healthy_since: Option<Timestamp>,
    /// The longest time for which it was healthy before that, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub longest_healthy_seconds: Option<i64>,
    /// Until when it was healthy, if it is not any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub healthy_until: Option<Timestamp>,
}

/// A revision of an environment of the same project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionReference {
    /// The environment's name.
    #[schemars(length(min = 1, max = 60))]
    pub environment: String,
    /// The revision's number.
    pub revision: RevisionNumber,
}

/// A version of the same project, bound to its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionReference {
    /// The PlatformVersion's name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The digest of its content.
    pub digest: Digest,
}

/// A complete configuration, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct EffectiveConfiguration {
    /// The variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub variables: Vec<EffectiveVariable>,
    /// The feature flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub flags: Vec<EffectiveFlag>,
}

/// A variable as it applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveVariable {
    /// The variable's name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// The plain value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub value: Option<String>,
    /// The reference to the secret value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultReference>,
    /// The revision of this environment that brought this value.
    pub since: RevisionNumber,
}

/// A feature flag as it applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveFlag {
    /// The flag's name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Whether it is on.
    pub enabled: bool,
    /// The revision of this environment that brought this value.
    pub since: RevisionNumber,
}

/// What spec.config said, a digest for each key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredConfiguration {
    /// Variables: name → digest of the entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub variables: BTreeMap<String, Digest>,
    /// Flags: name → digest of the entry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub flags: BTreeMap<String, Digest>,
}

/// What one revision changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Changes of the version's content, by category.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub content: BTreeMap<String, CategoryChanges>,
    /// Changes of variables, by name.
    #[serde(default, skip_serializing_if = "KeyChanges::is_empty")]
    pub variables: KeyChanges,
    /// Changes of feature flags, by name.
    #[serde(default, skip_serializing_if = "KeyChanges::is_empty")]
    pub flags: KeyChanges,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.variables.is_empty() && self.flags.is_empty()
    }
}

/// What changed in one category of a version's content. Names are sorted; of a great many only the first are kept, and
/// the counts tell how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CategoryChanges {
    /// Names that were not there before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 256)))]
    pub added: Vec<String>,
    /// Names that are no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 256)))]
    pub removed: Vec<String>,
    /// Names whose definition is another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 256)))]
    pub changed: Vec<String>,
    /// How many were added.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub added_count: u32,
    /// How many were removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub removed_count: u32,
    /// How many were changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub changed_count: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Names that were added, removed, changed; each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyChanges {
    /// Names that were not there before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), inner(length(max = 128)))]
    pub added: Vec<String>,
    /// Names that are no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), inner(length(max = 128)))]
    pub removed: Vec<String>,
    /// Names whose value is another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), inner(length(max = 128)))]
    pub changed: Vec<String>,
}

impl KeyChanges {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
