//! What kinds of objects an environment consists of.

use crate::domain::vault::{SecretsOperator, VaultSettings};

/// The kinds of children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// The environment's namespace. It holds all other children.
    Namespace,
    /// The identity of the environment's applications.
    ServiceAccount,
    /// The most that all pods may take together.
    ResourceQuota,
    /// What a container gets that asks for nothing.
    LimitRange,
    /// Who may talk to whom.
    NetworkPolicy,
    /// Who may look into the namespace.
    RoleBinding,
    /// The release.
    ConfigMap,
    /// How External Secrets reaches the environment's place in Vault.
    SecretStore,
    /// Which secrets External Secrets brings.
    ExternalSecret,
    /// Where the Vault Secrets Operator finds Vault.
    VaultConnection,
    /// How the Vault Secrets Operator logs in.
    VaultAuth,
    /// Which secrets the Vault Secrets Operator brings.
    VaultStaticSecret,
}

impl ChildKind {
    /// The kinds that every environment has.
    pub const ALL: [Self; 7] = [
        Self::Namespace,
        Self::ServiceAccount,
        Self::ResourceQuota,
        Self::LimitRange,
        Self::NetworkPolicy,
        Self::RoleBinding,
        Self::ConfigMap,
    ];

    /// The kinds that a secrets operator executes; they are there where it is installed.
    #[must_use]
    pub fn of_secrets(operator: &SecretsOperator) -> &'static [Self] {
        match operator {
            SecretsOperator::None => &[],
            SecretsOperator::ExternalSecrets(..) => &[Self::SecretStore, Self::ExternalSecret],
            SecretsOperator::VaultSecrets => &[Self::VaultConnection, Self::VaultAuth, Self::VaultStaticSecret],
        }
    }

    /// The kinds that a secrets operator executes, as far as the cluster has them.
    #[must_use]
    pub fn served(vault: &VaultSettings) -> &'static [Self] {
        if vault.installed { Self::of_secrets(&vault.secrets_operator) } else { &[] }
    }

    /// Whether it brings secrets, by way of a secrets operator.
    #[must_use]
    pub fn brings_secrets(self) -> bool {
        matches!(
            self,
            Self::SecretStore
                | Self::ExternalSecret
                | Self::VaultConnection
                | Self::VaultAuth
                | Self::VaultStaticSecret
        )
    }

    /// The kind's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::ResourceQuota => "ResourceQuota",
            Self::LimitRange => "LimitRange",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::RoleBinding => "RoleBinding",
            Self::ConfigMap => "ConfigMap",
            Self::SecretStore => "SecretStore",
            Self::ExternalSecret => "ExternalSecret",
            Self::VaultConnection => "VaultConnection",
            Self::VaultAuth => "VaultAuth",
            Self::VaultStaticSecret => "VaultStaticSecret",
        }
    }

    /// The resource's plural name.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::ServiceAccount => "serviceaccounts",
            Self::ResourceQuota => "resourcequotas",
            Self::LimitRange => "limitranges",
            Self::NetworkPolicy => "networkpolicies",
            Self::RoleBinding => "rolebindings",
            Self::ConfigMap => "configmaps",
            Self::SecretStore => "secretstores",
            Self::ExternalSecret => "externalsecrets",
            Self::VaultConnection => "vaultconnections",
            Self::VaultAuth => "vaultauths",
            Self::VaultStaticSecret => "vaultstaticsecrets",
        }
    }

    /// Group and version.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::RoleBinding => "rbac.authorization.k8s.io/v1",
            Self::SecretStore | Self::ExternalSecret => "external-secrets.io/v1",
            Self::VaultConnection | Self::VaultAuth | Self::VaultStaticSecret => "secrets.hashicorp.com/v1beta1",
            _ => "v1",
        }
    }

    /// Fields that are objects and yet are replaced as a whole (`x-kubernetes-map-type: atomic`).
    #[must_use]
    pub fn atomic_fields(self) -> &'static [&'static str] {
        match self {
            Self::NetworkPolicy => &["spec.podSelector"],
            Self::RoleBinding => &["roleRef"],
            _ => &[],
        }
    }
}

/// Which child: its kind and name. Its namespace is the environment's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId {
    /// The kind.
    pub kind: ChildKind,
    /// The name.
    pub name: String,
}

impl std::fmt::Display for ChildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}
