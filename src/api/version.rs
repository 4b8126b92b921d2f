//! `PlatformVersion`: one immutable state of the platform.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{condition::Condition, digest::Digest};

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
            pattern = r"^v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-z-][0-9a-z-]*)(\.(0|[1-9]\d*|\d*[a-z-][0-9a-z-]*))*)?$"
        )
    )]
    pub version: String,
    /// What the version holds: category (entities, flows, logic, pages, or any other), then name, then the digest of
    /// that part's definition.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32), with = "BTreeMap<String, CategoryContent>")]
    #[x_kube(validation = Rule::new("self.all(category, category.matches('^[a-z][a-z0-9_]{0,62}$'))")
        .message("a category in content is a lower-case word such as entities: letters, digits and underscores, 63 at the most"))]
    pub content: Content,
}

/// The parts of one category, by name.
#[derive(schemars::JsonSchema)]
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
    /// The state in detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
