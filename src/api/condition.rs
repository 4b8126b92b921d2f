//! Conditions: their shape, types and reasons.
//!
//! They follow kstatus, which Flux, Argo CD and `kubectl wait` understand: `Ready` is always there; `Reconciling` and
//! `Stalled` are there only while they are true
//! (<https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>).

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything below holds: the object is as its spec says.
pub const READY: &str = "Ready";
/// The operator is still on its way, or waits for something that may come by itself. Absent otherwise.
pub const RECONCILING: &str = "Reconciling";
/// The operator cannot go on until a person changes something; the message says what. Absent otherwise.
pub const STALLED: &str = "Stalled";
/// The environment's namespace exists, is ours and is as intended.
pub const NAMESPACE_READY: &str = "NamespaceReady";
/// The release (version and configuration) is recorded and readable in the namespace.
pub const CONFIG_READY: &str = "ConfigReady";
/// Quota, limits, network policies, access and the service account are as intended.
pub const ISOLATED: &str = "Isolated";
/// A temporary environment is about to be deleted. Absent otherwise.
pub const EXPIRING: &str = "Expiring";
/// The environment has values that spec.config does not say, brought by a promotion or a rollback. Absent otherwise.
pub const CONFIG_DIVERGED: &str = "ConfigDiverged";
/// Edits of spec.config wait for a promotion. Absent otherwise.
pub const CONFIG_PENDING: &str = "ConfigPending";
/// The environment has its own place in Vault, and every secret that its variables refer to has a value there. Absent while the
/// operator manages no Vault.
pub const SECRETS_READY: &str = "SecretsReady";
/// The version passed all validations that some environment of the project demands.
pub const VALIDATED: &str = "Validated";
/// The promotion has moved: the target has a revision that it made.
pub const COMMITTED: &str = "Committed";

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can say yet.
    Unknown,
}

/// One aspect of an object's state, in the form of the Kubernetes API conventions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What this condition is about, for example Ready.
    #[schemars(length(min = 1, max = 316))]
    pub r#type: String,
    /// Whether it holds: True, False or Unknown.
    pub status: ConditionStatus,
    /// The metadata.generation that this was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[schemars(with = "crate::api::crd::DateTime")]
    pub last_transition_time: Timestamp,
    /// Why, in one CamelCase word for programs.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Why, in a sentence for people, with the remedy where one is needed.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Why a condition is as it is. The words are API: programs may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No operator has seen the object yet.
    Pending,
    /// All is as the spec says.
    AsIntended,
    /// Work is under way.
    Progressing,
    /// The environment that this one is cloned from does not exist yet.
    BaseNotFound,
    /// The environment that this one is cloned from has no version yet.
    BaseHasNoVersion,
    /// The environment that this one is cloned from is being deleted.
    BaseTerminating,
    /// Environments are cloned from each other in a circle.
    BaseCycle,
    /// The version that this environment starts from does not exist yet.
    VersionNotFound,
    /// Project and environment together do not make a namespace's name.
    InvalidName,
    /// A field's value is refused.
    InvalidSpec,
    /// The stored object cannot be read.
    Undecodable,
    /// An object with the name that we need exists and is not ours.
    NotOurs,
    /// The API server refused or failed a write.
    WriteFailed,
    /// The history of a former environment of the same name is still there.
    FormerHistory,
    /// The newest revision that the status names is not in the history any more.
    HistoryBroken,
    /// The environment is being deleted.
    Terminating,
    /// Finalizers of others hold the environment or its namespace.
    ForeignFinalizer,
    /// The time to live ends soon.
    TtlEndsSoon,
    /// Edits of the configuration wait for a promotion.
    ConfigPending,
    /// A promotion or a rollback brought values that the spec does not say.
    ConfigDiverged,
    /// Secrets that variables refer to have no value.
    SecretsMissing,
    /// The secrets operator that shall bring secrets into namespaces is not installed.
    SecretsOperatorMissing,
    /// Vault does not answer, or not as it should.
    VaultUnavailable,
    /// Vault refuses what the operator asks.
    VaultRefused,
    /// The environment has a place in Vault, and the operator is not configured for Vault any more.
    VaultNotConfigured,
    /// Revisions name the version that somebody is deleting.
    InUse,
    /// A validation that is demanded has not passed.
    ValidationMissing,
    /// The operator does not come to an end with the object.
    OperatorDefect,
}

impl Reason {
    /// The word that stands in the condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::AsIntended => "AsIntended",
            Self::Progressing => "Progressing",
            Self::BaseNotFound => "BaseNotFound",
            Self::BaseHasNoVersion => "BaseHasNoVersion",
            Self::BaseTerminating => "BaseTerminating",
            Self::BaseCycle => "BaseCycle",
            Self::VersionNotFound => "VersionNotFound",
            Self::InvalidName => "InvalidName",
            Self::InvalidSpec => "InvalidSpec",
            Self::Undecodable => "Undecodable",
            Self::NotOurs => "NotOurs",
            Self::WriteFailed => "WriteFailed",
            Self::FormerHistory => "FormerHistory",
            Self::HistoryBroken => "HistoryBroken",
            Self::Terminating => "Terminating",
            Self::ForeignFinalizer => "ForeignFinalizer",
            Self::TtlEndsSoon => "TtlEndsSoon",
            Self::ConfigPending => "ConfigPending",
            Self::ConfigDiverged => "ConfigDiverged",
            Self::SecretsMissing => "SecretsMissing",
            Self::SecretsOperatorMissing => "SecretsOperatorMissing",
            Self::VaultUnavailable => "VaultUnavailable",
            Self::VaultRefused => "VaultRefused",
            Self::VaultNotConfigured => "VaultNotConfigured",
            Self::InUse => "InUse",
            Self::ValidationMissing => "ValidationMissing",
            Self::OperatorDefect => "OperatorDefect",
        }
    }
}
