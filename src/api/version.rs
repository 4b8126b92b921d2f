//! `PlatformVersion`: one immutable state of the platform.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    condition::Condition,
    digest::Digest,
    revision::{CategoryChanges, RevisionNumber},
};

/// What a version holds: category (entities, flows, logic, pages, …) → name → digest of that part's definition.
pub type Content = BTreeMap<String, BTreeMap<String, Digest>>;

/// One immutable state of a no-code project: what a tag is to a repository.
#[derive(Clone, Debug, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "platform.puraify.app",
    version = "v1alpha1",
    kind = "PlatformVersion",
    namespaced,
    status = "PlatformVersionStatus",
    derive = "PartialEq",
    shortname = "pver",
    category = "platform",
    doc = "One immutable state of a no-code project: what a tag is to a repository.",
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest"),
    printcolumn(
        name = "Validated",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Validated\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == self.spec.version")
        .message(Message::Expression("'metadata.name ' + self.metadata.name + ' and spec.version ' + self.spec.version + ' differ: a version is known by its own name; make them the same'".into()))
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a version is immutable: publish another version instead"))]
pub struct PlatformVersionSpec {
    /// The version, as semver says (<https://semver.org>), in lower case; a leading v is allowed, build metadata is not.
    #[schemars(
        length(min = 5, max = 128),
        regex(
            pattern = r"^v?(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-(0|[1-9]\d*|\d*[a-z-][0-9a-z-]*)(\.(0|[1-9]\d*|\d*[a-z-][0-9a-z-]*))*)?$"
        )
    )]
    pub version: String,
    /// The version that this one was made from, by name: status.diff compares with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub parent: Option<String>,
    /// What an environment must have in its configuration before this version may come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<Requires>,
    /// What the version holds: category (entities, flows, logic, pages, or any other), then name, then the digest of
    /// that part's definition.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32), with = "BTreeMap<String, CategoryContent>")]
    #[x_kube(validation = Rule::new("self.all(category, category.matches('^[a-z][a-z0-9_]{0,62}$'))")
        .message("a category in content is a lower-case word such as entities: letters, digits and underscores, 63 at the most"))]
    pub content: Content,
}

/// What an environment must have in its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Requires {
    /// Names of variables, each with a value or a reference to a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub variables: Vec<String>,
    /// Names of feature flags, on or off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub flags: Vec<String>,
    /// Names of variables that must be references to secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub secrets: Vec<String>,
}

/// The parts of one category, by name.
#[derive(JsonSchema)]
#[schemars(inline, extend("maxProperties" = 2000))]
#[allow(dead_code, reason = "stands in for the map in the schema, which alone can bound it")]
struct CategoryContent(BTreeMap<String, Digest>);

/// What the operator found out about the version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformVersionStatus {
    /// The metadata.generation that this status was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// The digest of the canonical content (RFC 8785, SHA-256): the same content has the same digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What changed from the parent, by category of content; absent without a parent, or while the parent is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub diff: Option<BTreeMap<String, CategoryChanges>>,
    /// Results of validations. Written by those who validate, each its own, never by the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub validations: Vec<ValidationResult>,
    /// Environments whose release this version is; of a great many the first by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    // The operator's alone. As a map the API server would keep account of each entry's owner: with a hundred of them that
    // made this the most expensive write of all.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub environments: Vec<InEnvironment>,
    /// The state in detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The result of one validation of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValidationResult {
    /// What was validated, for example schema or e2e.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// What came of it.
    pub result: ValidationOutcome,
    /// The digest of the version that was validated: status.digest. A result for another digest counts for nothing.
    pub digest: Digest,
    /// Who reports, as the API server knows them.
    #[schemars(length(min = 1, max = 256))]
    pub reporter: String,
    /// When it was validated.
    #[schemars(with = "crate::api::crd::DateTime")]
    pub at: Timestamp,
    /// After this the result counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub expires_at: Option<Timestamp>,
    /// Where the details are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub link: Option<String>,
    /// Details for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// What came of a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValidationOutcome {
    /// It is under way.
    Running,
    /// The version is as it should be.
    Passed,
    /// The version is not as it should be.
    Failed,
}

/// An environment whose release a version is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InEnvironment {
    /// The environment's name.
    #[schemars(length(min = 1, max = 60))]
    pub name: String,
    /// The revision that made it so.
    pub revision: RevisionNumber,
}
