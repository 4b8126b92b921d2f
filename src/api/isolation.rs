//! What keeps an environment apart from its neighbours.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Refinements of the isolation that the environment's class brings. What is left out stays as the class says;
/// status.isolation shows what applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// The Pod Security Standard that the namespace enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
    /// The most that all pods of the environment may take together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What a container gets that asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Who may be reached, and who may reach the environment, beyond DNS and the environment itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Who may look into the environment's namespace, by ClusterRoles that the platform team allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["role".into()]))]
    pub access: Vec<Access>,
}

/// A Pod Security Standard (<https://kubernetes.io/docs/concepts/security/pod-security-standards/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Prevents known privilege escalations.
    Baseline,
    /// Follows current hardening practice.
    Restricted,
}

impl PodSecurity {
    /// The value of the namespace's label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// The most that all pods of an environment may take together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Quota {
    /// CPU that all pods may request, for example "4" or "500m".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::Quantity>")]
    pub cpu: Option<String>,
    /// Memory that all pods may request and be limited to, for example 8Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::Quantity>")]
    pub memory: Option<String>,
    /// Storage that all volume claims may request, for example 20Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::Quantity>")]
    pub storage: Option<String>,
    /// The number of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub pods: Option<i32>,
}

/// What a container gets that asks for nothing, and the most that one may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// CPU that a container requests by default, for example 100m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::Quantity>")]
    pub default_cpu: Option<String>,
    /// Memory that a container requests, and is limited to, by default, for example 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::api::crd::Quantity>")]
    pub default_memory: Option<String>,
}

/// Network traffic beyond DNS and the environment itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Network {
    /// Gateways that may send traffic in, by the names that the platform team gave them. Empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub gateways: Option<Vec<String>>,
    /// Whether pods may reach public addresses. Private and link-local ranges stay closed in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internet: Option<bool>,
}

/// One ClusterRole and those who hold it in the environment's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
        "(has(self.users) && size(self.users) > 0) || (has(self.groups) && size(self.groups) > 0) || (has(self.serviceAccounts) && size(self.serviceAccounts) > 0)")
    .message("access names nobody: give at least one of users, groups, serviceAccounts"))]
pub struct Access {
    /// The ClusterRole's name. It must be on the platform team's list.
    #[schemars(length(min = 1, max = 253))]
    pub role: String,
    /// Names of users, as the API server knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(name, !name.startsWith('system:'))")
        .message("names that start with system: belong to Kubernetes and are not given access here"))]
    pub users: Vec<String>,
    /// Names of groups, as the API server knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(name, !name.startsWith('system:'))")
        .message("names that start with system: belong to Kubernetes and are not given access here"))]
    pub groups: Vec<String>,
    /// Names of ServiceAccounts in the project's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub service_accounts: Vec<String>,
}

/// What applies to an environment: its class's preset, refined by its spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveIsolation {
    /// The Pod Security Standard that the namespace enforces.
    pub pod_security: PodSecurity,
    /// The most that all pods of the environment may take together.
    pub quota: EffectiveQuota,
    /// What a container gets that asks for nothing.
    pub limits: EffectiveLimits,
    /// Gateways that may send traffic in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub gateways: Vec<String>,
    /// Whether pods may reach public addresses.
    pub internet: bool,
    /// ClusterRoles that are bound in the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    pub roles: Vec<String>,
}

/// The quota that applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveQuota {
    /// CPU that all pods may request.
    #[schemars(length(max = 32))]
    pub cpu: String,
    /// Memory that all pods may request and be limited to.
    #[schemars(length(max = 32))]
    pub memory: String,
    /// Storage that all volume claims may request.
    #[schemars(length(max = 32))]
    pub storage: String,
    /// The number of pods.
    #[schemars(range(min = 0, max = 10000))]
    pub pods: i32,
}

/// The container defaults that apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveLimits {
    /// CPU that a container requests by default.
    #[schemars(length(max = 32))]
    pub default_cpu: String,
    /// Memory that a container requests, and is limited to, by default.
    #[schemars(length(max = 32))]
    pub default_memory: String,
}
