//! Configuration of an environment: variables, secret references, feature flags.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration: variables and feature flags, each known by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Configuration {
    /// Environment variables of the applications. A variable holds a plain value or a reference to a secret in Vault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub variables: Vec<Variable>,
    /// Feature flags, served to the applications in the format of OpenFeature's flagd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub flags: Vec<Flag>,
}

/// One variable: a plain value, or a reference to a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.value) != has(self.vault)")
    .message("a variable has either a value (plain text) or vault (a reference to a secret): give exactly one of them"))]
pub struct Variable {
    /// The variable's name, for example BASE_URL.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// The value in plain text. Anybody who may read the environment can read it: never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub value: Option<String>,
    /// Where the secret value lies in Vault, below this environment's own prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultReference>,
}

/// A reference to a secret value. It is relative to the environment's own Vault prefix, so a copy of it in another
/// environment means that environment's secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VaultReference {
    /// The secret's path below the environment's prefix, for example payments.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub path: String,
    /// The key within the secret, for example api_key.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9][-._A-Za-z0-9]*$"))]
    pub key: String,
}

/// One feature flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flag {
    /// The flag's name, for example BETA_FORM.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9][-._A-Za-z0-9]*$"))]
    pub name: String,
    /// Whether the flag is on.
    pub enabled: bool,
}
