//! What the platform team decides for all environments.

use std::collections::{BTreeMap, BTreeSet};

use super::vault::VaultSettings;

mod url_template;

pub use url_template::{UrlTemplate, UrlTemplateError};

/// The platform team's decisions, from the operator's configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where an environment can be visited.
    pub url_template: UrlTemplate,
    /// `ClusterRoles` that an environment may bind in its namespace.
    pub allowed_cluster_roles: BTreeSet<String>,
    /// Gateways that may send traffic into environments: name → namespace of the gateway's pods.
    pub gateways: BTreeMap<String, String>,
    /// How Vault is used; `None` where it is not.
    pub vault: Option<VaultSettings>,
    /// Whether places in Vault are given up where Vault is not used any more.
    pub abandon_vault: bool,
}
