//! The rules of an environment for what may come in.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::environment::EnvironmentClass;

/// What has to hold before a promotion may move something in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromotionRules {
    /// Environments of the same project that versions may come from. Empty: from anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 60), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub from: Vec<String>,
    /// Promote by itself what a from environment has deployed; without from, each newly published version that satisfies
    /// versions. One at a time, the newest wins.
    #[serde(default)]
    pub auto: bool,
    /// Environments in which the version must have been deployed and healthy before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["environment".into()]))]
    pub requires: Vec<Requirement>,
    /// Names of validations that must have passed for exactly this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub validations: Vec<String>,
    /// Versions that may come in, as a range of semver: >=1.0.0, <3.0.0. Pre-releases are within it only where the range
    /// names one of the same version (https://docs.rs/semver/latest/semver/struct.VersionReq.html).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[0-9A-Za-z.*+<>=^~, -]+$"))]
    pub versions: Option<String>,
    /// People who must say yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<ConfirmationRules>,
    /// What happens to edits of spec.config: applied at once (Immediate), or kept until a promotion with source
    /// pendingConfig has passed the gates (Promoted). Left out: Promoted for Production, Immediate for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_changes: Option<ConfigChanges>,
    /// What happens when there is more than one promotion into this environment.
    #[serde(default)]
    pub queue: QueuePolicy,
    /// What is expected of the Deployment Planner, and what happens otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentRules>,
}

/// An environment in which the version must have been deployed and healthy before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirement {
    /// The environment, of the same project.
    #[schemars(length(min = 1, max = 60), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub environment: String,
    /// For how long it must have been healthy there without a break, for example 1h (0s to 8760h). Left out: a moment is
    /// enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DurationText>")]
    pub soak: Option<String>,
}

/// People who must say yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfirmationRules {
    /// How many people, the promotion's author not among them.
    #[schemars(range(min = 0, max = 16))]
    pub required: u32,
}

/// What happens to edits of spec.config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConfigChanges {
    /// They are applied at once.
    Immediate,
    /// They wait, visible in status.pendingConfig, for a promotion with source pendingConfig.
    Promoted,
}

impl ConfigChanges {
    /// What applies to an environment with this class and these rules.
    #[must_use]
    pub fn effective(class: EnvironmentClass, rules: Option<&PromotionRules>) -> Self {
        rules.and_then(|rules| rules.config_changes).unwrap_or(match class {
            EnvironmentClass::Production => Self::Promoted,
            EnvironmentClass::Development | EnvironmentClass::Staging | EnvironmentClass::Preview => Self::Immediate,
        })
    }
}

/// What happens when there is more than one promotion into an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QueuePolicy {
    /// They wait for each other, in the order of their creation.
    #[default]
    Queue,
    /// A newer one takes the place of older ones that have not moved anything yet.
    Supersede,
    /// A newer one is rejected while an older one is on its way.
    Reject,
}

/// What is expected of the Deployment Planner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentRules {
    /// How long the planner may take until it reports success, for example 30m (0s to 8760h). Left out: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DurationText>")]
    pub deadline: Option<String>,
    /// For how long the release must stay healthy before the promotion has succeeded, for example 10m. Left out: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DurationText>")]
    pub soak: Option<String>,
    /// What happens when the deployment fails or takes too long.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What happens when a deployment fails or takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// The release stays as it is, and people decide.
    #[default]
    Hold,
    /// The last revision that was deployed well is restored, version and configuration together; once.
    Rollback,
}
