//! The kinds of the group `platform.puraify.app`: types, schema rules, condition types and reasons; nothing else.
//!
//! The namespace of a custom resource is its **project**. The kinds are meant to be read like git:
//! a [`PlatformEnvironment`] is a branch, a [`PlatformVersion`] a tag, a [`Promotion`] a merge request, an
//! [`EnvironmentRevision`] a commit.

pub mod condition;
pub mod config;
pub mod crd;
pub mod digest;
pub mod environment;
pub mod isolation;
pub mod promotion;
pub mod revision;
pub mod rules;
pub mod version;

pub use condition::{Condition, ConditionStatus};
pub use config::{Configuration, Flag, Variable, VaultReference};
pub use crd::{crds, crds_yaml};
pub use digest::Digest;
pub use environment::{
    BaseFrom, DeletionPolicy, DeploymentReport, DeploymentState, EnvironmentClass, EnvironmentPhase,
    PlatformEnvironment, PlatformEnvironmentSpec, PlatformEnvironmentStatus, Release, ReleaseState, SecretKeyStrategy,
    SecretState, SecretStatus, SecretStrategy, VaultLocation,
};
pub use promotion::{Gate, GateState, GateType, Promotion, PromotionPhase, PromotionSpec, PromotionStatus};
pub use revision::{Cause, EnvironmentRevision, EnvironmentRevisionSpec, RevisionNumber};
pub use version::{PlatformVersion, PlatformVersionSpec, PlatformVersionStatus};

/// The API group of all kinds.
pub const GROUP: &str = "platform.puraify.app";
/// The API version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// Annotation on an environment: change its value, to the time of day for example, and the operator looks into Vault now instead
/// of at the next interval.
pub const ANNOTATION_LOOK: &str = "platform.puraify.app/look-into-vault";
/// Label on a project's namespace: the project's id in the platform, free text such as `pf_872`.
/// Set by a platform administrator only.
pub const LABEL_PROJECT_ID: &str = "platform.puraify.app/project-id";
/// Label on everything that belongs to an environment: the namespace that holds its custom resource.
pub const LABEL_PROJECT: &str = "platform.puraify.app/project";
/// Label on everything that belongs to an environment: its name.
pub const LABEL_ENVIRONMENT: &str = "platform.puraify.app/environment";
/// Label on everything that belongs to an environment: its UID. What does not carry it is not ours.
pub const LABEL_ENVIRONMENT_UID: &str = "platform.puraify.app/environment-uid";
/// Label on an environment's namespace: its class, for policies and dashboards.
pub const LABEL_CLASS: &str = "platform.puraify.app/class";
/// Annotation on a child: the UID of its environment and the digest of what the operator last applied.
pub const ANNOTATION_INTENT: &str = "platform.puraify.app/intent";
/// Annotation on a namespace that outlived its environment because `deletionPolicy` is `Retain`.
pub const ANNOTATION_RETAINED: &str = "platform.puraify.app/retained";
/// Annotation on a custom resource: who created it, stamped by the API server's admission policy.
pub const ANNOTATION_CREATED_BY: &str = "platform.puraify.app/created-by";
/// Annotation on a custom resource: who last changed its spec, stamped by the API server's admission policy.
pub const ANNOTATION_CHANGED_BY: &str = "platform.puraify.app/changed-by";
/// Annotation on a promotion that the operator made by itself: the rule that asked for it.
pub const ANNOTATION_AUTO: &str = "platform.puraify.app/auto";
/// Annotation on a promotion that ended, and whose end no revision tells of: its last phase, in case its status is lost.
pub const ANNOTATION_ENDED: &str = "platform.puraify.app/ended";
/// The finalizer that keeps a version as long as a revision names it.
pub const VERSION_FINALIZER: &str = "platform.puraify.app/version";
/// The finalizer that keeps an environment until its namespace is gone.
pub const FINALIZER: &str = "platform.puraify.app/environment";
/// The field manager of every server-side apply that the operator makes.
pub const FIELD_MANAGER: &str = "environment-manager";
