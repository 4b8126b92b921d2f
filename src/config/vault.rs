//! How the operator uses Vault.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::duration;
use crate::{
    api::SecretStrategy,
    domain::vault::{PREFIX, SecretsOperator, VaultSettings},
    vault::{Access, Login},
};

/// What `run` can be told of Vault.
// These comments are the text of `--help`, where backticks would be noise.
#[allow(clippy::doc_markdown)]
#[derive(Args, Clone, Debug)]
pub struct VaultConfig {
    /// Address of Vault or OpenBao, for example https://vault.example.com:8200. Without it the operator does nothing about secrets
    #[arg(long, env = "ENVIRONMENT_MANAGER_VAULT_ADDRESS", value_name = "URL", help_heading = "Vault", value_parser = address)]
    pub vault_address: Option<String>,

    /// Certificate authority of Vault's server, in PEM. Without it: the host's own
    #[arg(long, env = "ENVIRONMENT_MANAGER_VAULT_CA_FILE", value_name = "FILE", help_heading = "Vault")]
    pub vault_ca_file: Option<PathBuf>,

    /// Namespace within Vault (Vault Enterprise, OpenBao)
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_NAMESPACE",
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        help_heading = "Vault"
    )]
    pub vault_namespace: String,

    /// Ports of Vault's pods, if its address is that of a Service. Applications may reach them where no secrets operator is used
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_PORTS",
        value_name = "PORT",
        value_delimiter = ',',
        default_value = "8200",
        help_heading = "Vault"
    )]
    pub vault_ports: Vec<u16>,

    /// Mount of the KV engine, version 2, that holds the environments' secrets. Best one that holds nothing else
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_MOUNT",
        value_name = "PATH",
        default_value = "kv",
        value_parser = kv_mount,
        help_heading = "Vault"
    )]
    pub vault_mount: String,

    /// How the operator logs in
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_LOGIN_METHOD",
        value_name = "METHOD",
        value_enum,
        default_value_t = LoginMethod::Kubernetes,
        help_heading = "Vault"
    )]
    pub vault_login_method: LoginMethod,

    /// Mount of the auth method at which the operator logs in. Without it: the method's name
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_LOGIN_PATH",
        value_name = "PATH",
        value_parser = mount,
        help_heading = "Vault"
    )]
    pub vault_login_path: Option<String>,

    /// Role of the operator, with method kubernetes
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_LOGIN_ROLE",
        value_name = "NAME",
        default_value = "environment-manager",
        help_heading = "Vault"
    )]
    pub vault_login_role: String,

    /// File with the operator's ServiceAccount token (method kubernetes) or Vault token (method token)
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_TOKEN_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/vault/token",
        help_heading = "Vault"
    )]
    pub vault_token_file: PathBuf,

    /// File with the role id, with method approle
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_ROLE_ID_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/vault/role-id",
        help_heading = "Vault"
    )]
    pub vault_role_id_file: PathBuf,

    /// File with the secret id, with method approle
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_SECRET_ID_FILE",
        value_name = "FILE",
        default_value = "/var/run/secrets/vault/secret-id",
        help_heading = "Vault"
    )]
    pub vault_secret_id_file: PathBuf,

    /// Mount of the Kubernetes auth method at which environments log in. Each cluster needs one of its own
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_AUTH_PATH",
        value_name = "PATH",
        default_value = "kubernetes",
        value_parser = mount,
        help_heading = "Vault"
    )]
    pub vault_auth_path: String,

    /// Audience of the ServiceAccount token with which the operator logs in. That of an environment has a slash and the name of its role after it
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_AUDIENCE",
        value_name = "NAME",
        default_value = "vault",
        help_heading = "Vault"
    )]
    pub vault_audience: String,

    /// Password policy in Vault by which new values are made
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_PASSWORD_POLICY",
        value_name = "NAME",
        default_value = "pf",
        value_parser = mount,
        help_heading = "Vault"
    )]
    pub vault_password_policy: String,

    /// How often each environment's policy, role and secrets in Vault are compared with what they should be
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_CHECK_INTERVAL",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = interval,
        help_heading = "Vault"
    )]
    pub vault_check_interval: Duration,

    /// Let clones have the values of their base (strategy Copy). The operator then reads secrets, each with a login of its own that
    /// lives for a minute. Needs method kubernetes
    #[arg(long, env = "ENVIRONMENT_MANAGER_VAULT_ALLOW_COPY", help_heading = "Vault")]
    pub vault_allow_copy: bool,

    /// What clones may do with secrets between Production and other classes: copy, reference. A list with commas; by default neither
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_VAULT_ACROSS_PRODUCTION",
        value_name = "STRATEGY",
        value_delimiter = ',',
        value_enum,
        help_heading = "Vault"
    )]
    pub vault_across_production: Vec<SharingStrategy>,

    /// The Vault that was used before is gone for good: let environments go although they have a place there. Without it they wait until
    /// there is an address again, since whoever could log in still can
    #[arg(long, env = "ENVIRONMENT_MANAGER_VAULT_ABANDON", conflicts_with = "vault_address", help_heading = "Vault")]
    pub vault_abandon: bool,

    /// Who brings secrets into the namespaces of environments. auto: whichever is installed, if one is
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_SECRETS_OPERATOR",
        value_name = "NAME",
        value_enum,
        default_value_t = SecretsOperatorKind::Auto,
        help_heading = "Vault"
    )]
    pub secrets_operator: SecretsOperatorKind,

    /// ServiceAccount of External Secrets, which may ask for tokens of each environment's ServiceAccount "vault", and no other
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_EXTERNAL_SECRETS_SERVICE_ACCOUNT",
        value_name = "NAMESPACE/NAME",
        default_value = "external-secrets/external-secrets",
        value_parser = service_account,
        help_heading = "Vault"
    )]
    pub external_secrets_service_account: (String, String),
}

/// How the operator logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoginMethod {
    /// With its service account.
    Kubernetes,
    /// With a role id and a secret id.
    #[value(name = "approle")]
    AppRole,
    /// With a token that somebody else renews.
    Token,
}

/// A strategy by which two environments have the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SharingStrategy {
    /// Copy.
    Copy,
    /// Reference.
    Reference,
}

/// Who brings secrets into namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SecretsOperatorKind {
    /// Whichever is installed.
    Auto,
    /// Nobody.
    None,
    /// External Secrets Operator.
    ExternalSecrets,
    /// Vault Secrets Operator.
    VaultSecrets,
}

impl VaultConfig {
    /// How Vault is reached; `None` where it is not used.
    #[must_use]
    pub fn access(&self) -> Option<Access> {
        let path = |method: &str| self.vault_login_path.clone().unwrap_or_else(|| method.to_owned());
        let login = match self.vault_login_method {
            LoginMethod::Kubernetes => Login::Kubernetes {
                path: path("kubernetes"),
                role: self.vault_login_role.clone(),
                token: self.vault_token_file.clone(),
            },
            LoginMethod::AppRole => Login::AppRole {
                path: path("approle"),
                role_id: self.vault_role_id_file.clone(),
                secret_id: self.vault_secret_id_file.clone(),
            },
            LoginMethod::Token => Login::Token(self.vault_token_file.clone()),
        };
        let (namespace, ca) = (self.vault_namespace.clone(), self.vault_ca_file.clone());
        self.vault_address.clone().map(|address| Access {
            address,
            namespace,
            ca,
            login,
            mount: self.vault_mount.clone(),
        })
    }

    /// What the platform team decided. `ca` is the certificate authority's text; `installed` says whether that secrets operator is.
    #[must_use]
    pub fn settings(&self, ca: String, secrets_operator: SecretsOperator, installed: bool) -> VaultSettings {
        let strategy = |shared: &SharingStrategy| match shared {
            SharingStrategy::Copy => SecretStrategy::Copy,
            SharingStrategy::Reference => SecretStrategy::Reference,
        };
        let across_production: BTreeSet<_> = self.vault_across_production.iter().map(strategy).collect();
        VaultSettings {
            address: self.vault_address.clone().unwrap_or_default().trim_end_matches('/').to_owned(),
            namespace: self.vault_namespace.clone(),
            ports: self.vault_ports.clone(),
            ca,
            mount: self.vault_mount.clone(),
            auth_path: self.vault_auth_path.clone(),
            audience: self.vault_audience.clone(),
            password_policy: self.vault_password_policy.clone(),
            check_interval: self.vault_check_interval,
            allow_copy: self.vault_allow_copy,
            across_production,
            secrets_operator,
            installed,
        }
    }

    /// External Secrets, as it is installed here.
    #[must_use]
    pub fn external_secrets(&self) -> SecretsOperator {
        let (namespace, name) = self.external_secrets_service_account.clone();
        SecretsOperator::ExternalSecrets(namespace, name)
    }
}

fn address(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = host.is_some_and(|host| {
        !host.trim_end_matches('/').is_empty() && !host.trim_end_matches('/').contains(['/', '@', ' ', '?', '#'])
    });
    if fits { Ok(text.to_owned()) } else { Err("expected an address such as https://vault.example.com:8200".into()) }
}

fn interval(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    let fits = (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&parsed);
    if fits { Ok(parsed) } else { Err("expected 1s to 24h".into()) }
}

/// A mount or a name in a path of Vault: nothing in it may mean something else there.
fn mount(text: &str) -> Result<String, String> {
    let part = |part: &str| {
        !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    if text.split('/').all(part) {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits, - and _, parts separated by /".into())
    }
}

/// External Secrets takes a mount's name off the beginning of a path: so none begins like our paths.
fn kv_mount(text: &str) -> Result<String, String> {
    let mount = mount(text)?;
    if mount.split('/').next() == Some(PREFIX) {
        return Err(format!("expected a mount that does not begin with {PREFIX}, as the paths in it do"));
    }
    Ok(mount)
}

fn service_account(text: &str) -> Result<(String, String), String> {
    let (namespace, name) = text.split_once('/').ok_or("expected NAMESPACE/NAME")?;
    let named = |part: &str| !part.is_empty() && !part.contains('/');
    if named(namespace) && named(name) {
        Ok((namespace.to_owned(), name.to_owned()))
    } else {
        Err("expected NAMESPACE/NAME".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_mount_means_something_else_in_a_path() {
        assert_eq!(mount("kv"), Ok("kv".to_owned()));
        assert_eq!(mount("team/kv-2"), Ok("team/kv-2".to_owned()));
        for wrong in ["", "kv/", "../sys", "kv*", "kv?list=true", "kv%2f", "a//b", "+"] {
            assert!(mount(wrong).is_err(), "{wrong}");
        }
        assert!(kv_mount("pf").is_err() && kv_mount("pf/kv").is_err() && kv_mount("pf-kv").is_ok());
    }

    #[test]
    fn an_address_is_a_host_and_nothing_else() {
        assert!(address("https://vault.example.com:8200").is_ok());
        for wrong in [
            "vault:8200",
            "https://",
            "https://user@vault",
            "https://vault/v1",
            "ftp://vault",
            "https://vault?x",
            "https://vault#x",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
