//! `Promotion`: one request to move a version, configuration, or both, into an environment, or to roll back.

#![allow(clippy::struct_excessive_bools, reason = "each is a word of the API that stands for itself")]

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    condition::Condition,
    digest::Digest,
    revision::{Cause, Changes, RevisionNumber, RevisionReference, VersionReference},
};

/// One request to move a version, configuration, or both, into an environment, or to roll back: what a merge request is
/// to a repository.
#[allow(clippy::duplicated_attributes, reason = "printer columns have the same types")]
#[derive(Clone, Debug, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "platform.puraify.app",
    version = "v1alpha1",
    kind = "Promotion",
    namespaced,
    status = "PromotionStatus",
    derive = "PartialEq",
    shortname = "promo",
    category = "platform",
    doc = "One request to move a version, configuration, or both, into an environment, or to roll back: what a merge request is to a repository.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.plan.version.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(name = "Waits for", type_ = "string", json_path = ".status.waitingFor"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Until", type_ = "string", json_path = ".status.until", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.target"
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.target == oldSelf.target && self.source == oldSelf.source && has(self.config) == has(oldSelf.config) && (!has(self.config) || self.config == oldSelf.config) && has(self.reason) == has(oldSelf.reason) && (!has(self.reason) || self.reason == oldSelf.reason) && self.dryRun == oldSelf.dryRun && self.emergency == oldSelf.emergency && self.liftVeto == oldSelf.liftVeto")
        .message("a promotion cannot be changed, but for confirmations, cancel and ttlAfterFinished: create another promotion instead"),
    validation = Rule::new("!has(oldSelf.confirmations) || (has(self.confirmations) && oldSelf.confirmations.all(old, self.confirmations.exists(new, new == old)))")
        .message("confirmations are only ever added: none can be changed or removed; to stop the promotion set spec.cancel to true"),
    validation = Rule::new("self.cancel || !oldSelf.cancel")
        .message("a promotion that was cancelled stays cancelled: create another promotion instead"),
    validation = Rule::new("!has(self.config) || has(self.source.environment)")
        .message("config carries variables and flags from an environment, so it needs source.environment"),
    validation = Rule::new("!self.emergency || has(self.source.revision)")
        .message("emergency is for rolling back: it needs source.revision"),
    validation = Rule::new("!has(self.source.environment) || self.source.environment != self.target")
        .message("source.environment and target are the same environment; to roll back name source.revision, to release pending configuration set source.pendingConfig")
)]
pub struct PromotionSpec {
    /// The environment that the promotion moves something into.
    #[schemars(length(min = 1, max = 60), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub target: String,
    /// What is moved: exactly one of environment, version, revision and pendingConfig.
    pub source: PromotionSource,
    /// Variables and flags to carry along from the source environment, by name. Left out, none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<CarriedConfiguration>,
    /// Why, in the words of the person who asks. It stands in the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// Only work out the plan and evaluate the gates: nothing moves, and the phase becomes DryRun.
    #[serde(default)]
    pub dry_run: bool,
    /// Roll back at once: past the queue and without confirmations. It is marked in the history.
    #[serde(default)]
    pub emergency: bool,
    /// Promote although the version was rolled back in the target before.
    #[serde(default)]
    pub lift_veto: bool,
    /// Explicit yeses of people, each bound to the digest of the plan (status.plan.digest) that it was given to. They are
    /// only ever added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["user".into(), "digest".into()]))]
    pub confirmations: Vec<Confirmation>,
    /// Stop the promotion, as long as it has not moved anything.
    #[serde(default)]
    pub cancel: bool,
    /// How long the promotion is kept after its end, for example 24h (0s to 8760h). Left out, it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DurationText>")]
    pub ttl_after_finished: Option<String>,
}

/// What a promotion moves: exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.environment), has(self.version), has(self.revision), has(self.pendingConfig)].filter(given, given).size() == 1")
    .message("source names what is moved: give exactly one of environment, version, revision (roll back) and pendingConfig"))]
pub struct PromotionSource {
    /// An environment of the same project: its current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub environment: Option<String>,
    /// A PlatformVersion of the same project, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub version: Option<String>,
    /// Roll back: a revision of the target, whose version and configuration are restored together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionNumber>,
    /// The changes of the target's spec.config that wait for a promotion (configChanges: Promoted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self").message("pendingConfig is true or left out"))]
    pub pending_config: Option<bool>,
}

/// Variables and flags to carry along, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct CarriedConfiguration {
    /// Names of variables. A reference to a secret is carried as a reference: in the target it means the target's secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub variables: Vec<String>,
    /// Names of feature flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub flags: Vec<String>,
}

/// A person's explicit yes to one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Confirmation {
    /// Who says yes, as the API server knows that person.
    #[schemars(length(min = 1, max = 256))]
    pub user: String,
    /// The digest of the plan that the yes is to: status.plan.digest.
    pub digest: Digest,
    /// What the person has to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub note: Option<String>,
}

/// What has become of the promotion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromotionStatus {
    /// The metadata.generation that this status was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Where the promotion is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PromotionPhase>,
    /// What it waits for, in a sentence; absent once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub waiting_for: Option<String>,
    /// When time alone will change something: the end of a soak time, or the deadline of a deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub until: Option<Timestamp>,
    /// What will happen, exactly. Confirmations are to this plan and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PromotionPlan>,
    /// What has to hold before anything moves, and whether it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub gates: Vec<Gate>,
    /// The revision of the target that this promotion made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionNumber>,
    /// The revision of the target that was made because the deployment failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_by: Option<RevisionNumber>,
    /// How many promotions into the same target come before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub queue_position: Option<u32>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub finished_at: Option<Timestamp>,
    /// The state in detail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where a promotion is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PromotionPhase {
    /// Something that it names is not there yet.
    Pending,
    /// Its gates are not all passed yet, or it is about to move.
    Evaluating,
    /// All that it still needs is somebody's confirmation.
    AwaitingConfirmation,
    /// It has moved: the target's release is the new one, and waits for the planner to deploy it.
    ReadyForDeploy,
    /// The planner deployed the release; its soak time runs.
    Deployed,
    /// The release is deployed and healthy. The end.
    Succeeded,
    /// A gate failed, so nothing was moved. The end.
    Rejected,
    /// The deployment failed or took too long. The end.
    Failed,
    /// Somebody cancelled it before it moved anything. The end.
    Cancelled,
    /// Another promotion took its place. The end.
    Superseded,
    /// It was only to be worked out. The end.
    DryRun,
}

impl PromotionPhase {
    /// The phase's name as it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Evaluating => "Evaluating",
            Self::AwaitingConfirmation => "AwaitingConfirmation",
            Self::ReadyForDeploy => "ReadyForDeploy",
            Self::Deployed => "Deployed",
            Self::Succeeded => "Succeeded",
            Self::Rejected => "Rejected",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Superseded => "Superseded",
            Self::DryRun => "DryRun",
        }
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Rejected | Self::Failed | Self::Cancelled | Self::Superseded | Self::DryRun
        )
    }
}

/// What a promotion will do, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromotionPlan {
    /// What the revision's cause will be.
    pub cause: Cause,
    /// The version that the target will have; absent if it has none and gets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionReference>,
    /// The digest of the configuration that the target will have.
    pub config_digest: Digest,
    /// The revision that version and carried configuration are taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<RevisionReference>,
    /// The version that the target has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<VersionReference>,
    /// What changes in the target; absent if nothing does.
    // Left out when empty: what a server-side apply empties becomes null, which the schema refuses.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub diff: Changes,
    /// The digest of this plan: of where it goes, what it replaces, and what will be there afterwards.
    pub digest: Digest,
}

/// One thing that has to hold before anything moves, and whether it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// The gate's name: its type, and what it is about where there are several of the type (requires/staging).
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The kind of gate.
    pub r#type: GateType,
    /// Whether it holds.
    pub state: GateState,
    /// Why, in one CamelCase word for programs.
    #[schemars(length(min = 1, max = 64))]
    pub reason: String,
    /// Why, in a sentence for people, with what would change it.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// When the outcome last changed.
    #[schemars(with = "crate::api::crd::DateTime")]
    pub evaluated_at: Timestamp,
    /// When time alone will change the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::DateTime>")]
    pub until: Option<Timestamp>,
    /// What the outcome rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// The kinds of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum GateType {
    /// The source is one that the target accepts.
    From,
    /// The version was in another environment, deployed and healthy, for long enough.
    Requires,
    /// The version was validated.
    Validation,
    /// The version is within the range that the target accepts.
    Versions,
    /// The version is not older than the one that the target has.
    Upgrade,
    /// The version was not rolled back in the target.
    Veto,
    /// The target will have all that the version requires.
    Completeness,
    /// The source environment is not degraded.
    UpstreamHealth,
    /// It is this promotion's turn.
    Queue,
    /// Enough people said yes.
    Confirmations,
}

impl GateType {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::From,
        Self::Requires,
        Self::Validation,
        Self::Versions,
        Self::Upgrade,
        Self::Veto,
        Self::Completeness,
        Self::UpstreamHealth,
        Self::Queue,
        Self::Confirmations,
    ];

    /// The gate's name, which stands alone or before a slash and what it is about.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::From => "from",
            Self::Requires => "requires",
            Self::Validation => "validation",
            Self::Versions => "versions",
            Self::Upgrade => "upgrade",
            Self::Veto => "veto",
            Self::Completeness => "completeness",
            Self::UpstreamHealth => "upstreamHealth",
            Self::Queue => "queue",
            Self::Confirmations => "confirmations",
        }
    }
}

/// Whether a gate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateState {
    /// It holds.
    Passed,
    /// It does not hold yet, and may.
    Pending,
    /// It does not hold, and will not for this promotion.
    Failed,
    /// It is not asked for here; the reason says why.
    Waived,
}

impl GateState {
    /// Whether the promotion may move as far as this gate is concerned.
    #[must_use]
    pub fn lets_pass(self) -> bool {
        matches!(self, Self::Passed | Self::Waived)
    }
}

/// What a gate's outcome rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The digest that was looked at: of a version, or of a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The revision that proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionReference>,
    /// Who reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub reporter: Option<String>,
    /// Who confirmed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 256)))]
    pub users: Vec<String>,
}
