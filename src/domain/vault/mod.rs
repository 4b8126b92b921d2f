//! An environment's own place in Vault: a prefix in the KV engine, a policy that reads the secrets there that its variables refer to
//! and nothing else, and a role that only the environment's own `ServiceAccount` can log in to.
//!
//! All names hold project, environment and UID, so that no other environment ever has the same, not even a later one of the same
//! name. Every part is a DNS label: Vault matches the names in a role as patterns, and a policy's path may end in one. Policies are
//! explicit text, never templates (CVE-2026-5006, CVE-2026-71543).

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    api::{Digest, EnvironmentClass, SecretStrategy, VaultLocation},
    domain::canonical,
};

mod found;
pub mod secrets;
mod trouble;

pub use found::{Found, Look, Query};
pub use trouble::Trouble;

/// What everything of ours in Vault begins with: names of policies and roles (with a hyphen), paths (with a slash).
pub const PREFIX: &str = "pf";

/// The `ServiceAccount` in an environment's namespace with which its secrets are read. No application runs as it.
pub const SERVICE_ACCOUNT: &str = "vault";

/// The `ServiceAccount` of an environment's applications.
pub const WORKLOAD: &str = "workload";

/// The `ClusterRole` that lets External Secrets ask for tokens of that `ServiceAccount`, and of no other.
pub const TOKEN_ROLE: &str = "environment-manager-vault-token";

/// For how long a token of an environment is good, in seconds, and how long it can be renewed.
const TOKEN_TTL: u32 = 900;
const TOKEN_MAX_TTL: u32 = 3600;

/// How the operator uses Vault: the platform team's decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// Where it is, as environments reach it: `https://vault.example.com:8200`.
    pub address: String,
    /// Its namespace (Vault Enterprise, OpenBao); empty for none.
    pub namespace: String,
    /// Its ports, as pods reach them.
    pub ports: Vec<u16>,
    /// The certificate authority of its server in PEM; empty for the host's own.
    pub ca: String,
    /// The mount of the KV engine, version 2.
    pub mount: String,
    /// The mount of the Kubernetes auth method at which environments log in. No two clusters share one.
    pub auth_path: String,
    /// What the operator's own token must have been made for; of an environment's it is the beginning.
    pub audience: String,
    /// The password policy by which Vault makes new values.
    pub password_policy: String,
    /// How often an environment's place is compared with what it should be.
    pub check_interval: Duration,
    /// Whether clones may have the values of their base. It lets the operator read secrets for a moment.
    pub allow_copy: bool,
    /// What may be done with secrets between Production and other classes. Nothing that shares a value, by default.
    pub across_production: BTreeSet<SecretStrategy>,
    /// Who brings secrets into namespaces.
    pub secrets_operator: SecretsOperator,
    /// Whether that one is installed. Its objects are made as soon as it is.
    pub installed: bool,
}

impl VaultSettings {
    /// The `ServiceAccount` that may log in for an environment: the secrets operator's, as which no pod runs; or, where there is none,
    /// that of the applications themselves.
    #[must_use]
    pub fn service_account(&self) -> &'static str {
        if self.secrets_operator == SecretsOperator::None { WORKLOAD } else { SERVICE_ACCOUNT }
    }

    /// The Kubernetes namespace that Vault runs in, if its address is that of a Service: `https://vault.secrets.svc:8200`.
    #[must_use]
    pub fn cluster_namespace(&self) -> Option<&str> {
        let (_, authority) = self.address.split_once("://")?;
        let host = authority.split([':', '/']).next()?;
        let mut parts = host.split('.').skip(1);
        let (namespace, kind) = (parts.next()?, parts.next()?);
        (kind == "svc").then_some(namespace)
    }
}

/// Who brings an environment's secrets into its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretsOperator {
    /// Nobody: applications ask Vault themselves.
    None,
    /// External Secrets Operator, which asks for tokens as this `ServiceAccount` (namespace and name).
    ExternalSecrets(String, String),
    /// `HashiCorp`'s Vault Secrets Operator.
    VaultSecrets,
}

impl SecretsOperator {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "no secrets operator",
            Self::ExternalSecrets(..) => "External Secrets",
            Self::VaultSecrets => "the Vault Secrets Operator",
        }
    }
}

/// An environment's place in Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// The environment's UID.
    pub uid: String,
}

impl Place {
    /// The place of an environment.
    #[must_use]
    pub fn of(project: &str, environment: &str, uid: &str) -> Self {
        Self { project: project.to_owned(), environment: environment.to_owned(), uid: uid.to_owned() }
    }

    /// The first eight digits of the UID.
    fn short_uid(&self) -> &str {
        self.uid.get(..8).unwrap_or(&self.uid)
    }

    /// The name of its policy and its role. Two hyphens between project and environment, as in the namespace's name, since neither
    /// contains two: so `a` and `b-c` are not `a-b` and `c`.
    #[must_use]
    pub fn role(&self) -> String {
        format!("{PREFIX}-{}--{}-{}", self.project, self.environment, self.short_uid())
    }

    /// Its prefix below the mount, without a slash at the end.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{PREFIX}/{}/{}-{}", self.project, self.environment, self.short_uid())
    }

    /// The path of one of its secrets below the mount.
    #[must_use]
    pub fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.prefix())
    }

    /// The path of a secret that environments of the project share: those of Production among themselves, and all others.
    #[must_use]
    pub fn shared(&self, class: EnvironmentClass, relative: &str) -> String {
        let area = if class == EnvironmentClass::Production { "shared-production" } else { "shared" };
        format!("{PREFIX}/{}/{area}/{relative}", self.project)
    }

    /// As the status says it.
    #[must_use]
    pub fn location(&self, settings: &VaultSettings) -> VaultLocation {
        VaultLocation {
            mount: settings.mount.clone(),
            prefix: self.prefix(),
            role: self.role(),
            audience: self.audience(settings),
        }
    }

    /// What a token of its `ServiceAccount` has to be made for. The API server takes a token for good for ten seconds after its
    /// `ServiceAccount` is gone: one for a former environment of the same name is for another audience.
    #[must_use]
    pub fn audience(&self, settings: &VaultSettings) -> String {
        format!("{}/{}", settings.audience, self.role())
    }

    /// The text of its policy. The first line is our mark: a policy without it is never removed.
    ///
    /// It names each secret that it reads, `secrets`, by its full path, and has no star: behind one, `HashiCorp` Vault 1.21 takes `..` for a
    /// way out of the prefix. And there is no right to list, since a list is not filtered. The token's own paths are named because the
    /// default policy, which has them, is left out.
    #[must_use]
    pub fn policy(&self, settings: &VaultSettings, secrets: &BTreeSet<String>, expires: Option<Timestamp>) -> String {
        let mut text = format!("{}\n", self.mark(settings));
        if let Some(expires) = expires {
            text.push_str("# until ");
            text.push_str(&expires.to_string());
            text.push('\n');
        }
        for path in secrets {
            text.extend(["path \"", &settings.mount, "/data/", path, "\" { capabilities = [\"read\"] }\n"]);
        }
        for (path, capability) in [("lookup-self", "read"), ("renew-self", "update"), ("revoke-self", "update")] {
            text.extend(["path \"auth/token/", path, "\" { capabilities = [\"", capability, "\"] }\n"]);
        }
        text
    }

    fn mark(&self, settings: &VaultSettings) -> String {
        format!(
            "# environment-manager at auth/{}: {}/{} {}",
            settings.auth_path, self.project, self.environment, self.uid
        )
    }

    /// Whose policy this is, if it carries the mark of an operator that uses this auth mount.
    #[must_use]
    pub fn of_policy(text: &str, settings: &VaultSettings) -> Option<Self> {
        let mark = text.lines().next()?.strip_prefix("# environment-manager at auth/")?;
        let (name, uid) = mark.strip_prefix(&settings.auth_path)?.strip_prefix(": ")?.split_once(' ')?;
        let (project, environment) = name.split_once('/')?;
        Some(Self::of(project, environment, uid))
    }

    /// The role: only one `ServiceAccount`, of one namespace, with a token for one audience
    /// (<https://openbao.org/api-docs/auth/kubernetes/>).
    #[must_use]
    pub fn role_body(&self, settings: &VaultSettings, namespace: &str) -> Value {
        json!({
            "bound_service_account_names": [settings.service_account()],
            "bound_service_account_namespaces": [namespace],
            "audience": self.audience(settings),
            "alias_name_source": "serviceaccount_uid",
            "token_policies": [self.role()],
            "token_no_default_policy": true,
            "token_ttl": TOKEN_TTL,
            "token_max_ttl": TOKEN_MAX_TTL,
            "token_type": "service",
            // What would widen or narrow it, if somebody else set it.
            "bound_service_account_namespace_selector": "",
            "token_period": 0,
            "token_explicit_max_ttl": 0,
            "token_num_uses": 0,
            "token_bound_cidrs": [],
        })
    }
}

/// The login with which the operator reads one secret that a clone copies: its policy and its role, which live as long as that takes.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyLogin {
    /// The name of both.
    pub name: String,
    /// The text of the policy. The first line is our mark, so that what an operator left that died is found and removed.
    pub policy: String,
    /// The role, for the operator's own `ServiceAccount`.
    pub role: Value,
}

impl CopyLogin {
    /// The login to read the secret at this path below the mount, for a clone with this place. `operator` is the operator's own
    /// `ServiceAccount`: namespace and name.
    #[must_use]
    pub fn new(settings: &VaultSettings, place: &Place, path: &str, operator: (&str, &str)) -> Self {
        let name = Self::name(place);
        let policy = format!(
            "{}\npath \"{}/data/{path}\" {{ capabilities = [\"read\"] }}\n",
            place.mark(settings),
            settings.mount
        );
        let role = json!({
            "bound_service_account_names": [operator.1],
            "bound_service_account_namespaces": [operator.0],
            "audience": settings.audience,
            "token_policies": [name],
            "token_no_default_policy": true,
            "token_ttl": 60,
            "token_max_ttl": 60,
            "token_type": "batch",
        });
        Self { name, policy, role }
    }

    /// The name of the login for a clone with this place. No environment's role is called so: its UID stands at the end.
    #[must_use]
    pub fn name(place: &Place) -> String {
        format!("{PREFIX}-copy-{}", place.uid)
    }
}

/// The digest of those fields of a role that are ours, whatever else the server says of it. A field that it does not know is as one that
/// is empty.
#[must_use]
pub fn role_digest(role: &Value, ours: &Value) -> Digest {
    let fields: serde_json::Map<String, Value> = ours
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, ours)| {
            let empty = [json!(""), json!(0), json!([])].contains(ours);
            let missing = || if empty { ours.clone() } else { Value::Null };
            (name.clone(), role.get(name).filter(|found| !found.is_null()).cloned().unwrap_or_else(missing))
        })
        .collect();
    canonical::digest(&Value::Object(fields))
}

/// What is gone already of the place of an environment that is being deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Nobody can log in any more.
    pub role: bool,
    /// Tokens that were given out are good for nothing any more.
    pub policy: bool,
    /// The values are deleted.
    pub secrets: bool,
}

/// What is done in Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write the policy.
    Policy {
        /// Its text.
        text: String,
        /// When it ends by itself (OpenBao; Vault does not know it), so that access ends with a preview even without an operator.
        expires: Option<Timestamp>,
    },
    /// Write the role.
    Role(Value),
    /// Make a secret that is not there. All of its keys are written at once.
    Make {
        /// Its path below the mount.
        path: String,
        /// The keys that get new values.
        generate: BTreeSet<String>,
        /// The keys that get the values of another secret.
        copy: BTreeSet<String>,
        /// That other secret's path below the mount.
        from: Option<String>,
    },
    /// Remove the role.
    RemoveRole,
    /// Remove the policy.
    RemovePolicy,
    /// Remove all secrets below the prefix, with all their versions.
    RemoveSecrets,
}

/// As it follows "it still wants to".
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy { .. } => f.write_str("write the policy in Vault"),
            Self::Role(_) => f.write_str("write the role in Vault"),
            Self::Make { path, .. } => write!(f, "make the secret {path}"),
            Self::RemoveRole => f.write_str("remove the role in Vault"),
            Self::RemovePolicy => f.write_str("remove the policy in Vault"),
            Self::RemoveSecrets => f.write_str("remove the secrets in Vault"),
        }
    }
}

/// The policy that the operator itself needs, and nothing more.
///
/// On values it has `create` alone: with that it can make a secret that is not there, and neither read nor change one.
///
/// Vault cannot look into the text of a policy: who may write policies and log-in roles can give themselves any access. Whoever has
/// the operator's login has, by a detour, the whole namespace of Vault. So give the operator a namespace of its own where Vault has
/// them, and have the audit log watched for roles that are not bound to an environment's namespace.
#[must_use]
pub fn operator_policy(settings: &VaultSettings) -> String {
    let VaultSettings { mount, auth_path, password_policy, .. } = settings;
    let rules: &[(String, &[&str], &str)] = &[
        (
            format!("sys/policies/acl/{PREFIX}-*"),
            &["create", "read", "update", "delete"],
            "The policy of each environment.",
        ),
        ("sys/policies/acl".to_owned(), &["list"], "Policies of environments that are gone."),
        (
            format!("auth/{auth_path}/role/{PREFIX}-*"),
            &["create", "read", "update", "delete"],
            "The role of each environment.",
        ),
        (
            format!("{mount}/data/{PREFIX}/*"),
            &["create"],
            "New secrets of clones: make what is not there; never read, never change.",
        ),
        (format!("{mount}/subkeys/{PREFIX}/*"), &["read"], "Which keys a secret has, without their values."),
        (format!("{mount}/metadata/{PREFIX}/*"), &["list", "delete"], "The end of an environment's secrets."),
        (format!("sys/policies/password/{password_policy}/generate"), &["read"], "New values."),
        ("auth/token/renew-self".to_owned(), &["update"], "Its own token."),
        ("auth/token/revoke-self".to_owned(), &["update"], "The end of its own token, when it has another one."),
    ];
    let mut text =
        "# What Environment Manager needs in Vault or OpenBao. Printed by `environment-manager vault-policy`.\n"
            .to_owned();
    for (path, capabilities, why) in rules {
        let capabilities: Vec<String> = capabilities.iter().map(|capability| format!("\"{capability}\"")).collect();
        let capabilities = capabilities.join(", ");
        text.extend(["\n# ", why, "\npath \"", path, "\" {\n  capabilities = [", &capabilities, "]\n}\n"]);
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;
