//! The objects by which a secrets operator brings an environment's secrets into its namespace. We build them, and do not run them.
//!
//! <https://external-secrets.io/latest/provider/hashicorp-vault/> and
//! <https://developer.hashicorp.com/vault/docs/deploy/kubernetes/vso/api-reference>

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::children::{ChildKind, Intent, Owner, intent};
use crate::{
    api::{Digest, SecretState, SecretStatus},
    domain::vault::{Place, SERVICE_ACCOUNT, SecretsOperator, TOKEN_ROLE, VaultSettings},
};

/// The name of the store, or of the connection and the login.
const STORE: &str = "vault";
/// The name of the `RoleBinding` by which External Secrets may ask for tokens.
pub(super) const TOKEN_BINDING: &str = "vault-token";
/// The Secret in the environment's namespace with Vault's certificate authority, for the Vault Secrets Operator alone.
const CA_SECRET: &str = "vault-ca";
/// How often a secrets operator asks Vault for changed values.
const REFRESH: &str = "15m";

/// Who reads the environment's secrets, and who may act as that.
pub(super) fn identity(owner: Owner<'_>, vault: &VaultSettings) -> Vec<Intent> {
    if vault.secrets_operator == SecretsOperator::None {
        return vec![];
    }
    let account = json!({"automountServiceAccountToken": false});
    let mut children = vec![intent(owner, ChildKind::ServiceAccount, SERVICE_ACCOUNT, &account)];
    if let SecretsOperator::ExternalSecrets(namespace, name) = &vault.secrets_operator {
        let body = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": TOKEN_ROLE},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        });
        children.push(intent(owner, ChildKind::RoleBinding, TOKEN_BINDING, &body));
    }
    children
}

/// The name of the Secret with the values of one path. Readable, and another one for each path.
#[must_use]
pub fn secret_name(path: &str) -> String {
    let readable: String = path.replace('/', "-").chars().take(40).collect();
    format!("secret-{}-{}", readable.trim_end_matches('-'), Digest::of(path.as_bytes()).short(8))
}

/// What brings the secrets that have a value. One that has none would keep the others of its path away.
#[must_use]
pub fn children(owner: Owner<'_>, vault: &VaultSettings, place: &Place, secrets: &[SecretStatus]) -> Vec<Intent> {
    if !vault.installed {
        return vec![];
    }
    let mut paths: BTreeMap<&str, Vec<&SecretStatus>> = BTreeMap::new();
    for secret in secrets.iter().filter(|secret| secret.state == SecretState::Ready) {
        paths.entry(&secret.path).or_default().push(secret);
    }
    let mut children = match vault.secrets_operator {
        SecretsOperator::None => return vec![],
        SecretsOperator::ExternalSecrets(..) => vec![secret_store(owner, vault, place)],
        SecretsOperator::VaultSecrets => vec![vault_connection(owner, vault), vault_auth(owner, vault, place)],
    };
    children.extend(paths.into_iter().map(|(path, secrets)| match vault.secrets_operator {
        SecretsOperator::VaultSecrets => vault_static_secret(owner, vault, path, &secrets),
        _ => external_secret(owner, path, &secrets),
    }));
    children
}

fn secret_store(owner: Owner<'_>, vault: &VaultSettings, place: &Place) -> Intent {
    let mut provider = json!({
        "server": vault.address,
        "path": vault.mount,
        "version": "v2",
        "auth": {"kubernetes": {
            "mountPath": vault.auth_path,
            "role": place.role(),
            "serviceAccountRef": {"name": SERVICE_ACCOUNT, "audiences": [vault.audience]},
        }},
    });
    if !vault.namespace.is_empty() {
        provider["namespace"] = json!(vault.namespace);
    }
    if !vault.ca.is_empty() {
        provider["caBundle"] = json!(BASE64_STANDARD.encode(&vault.ca));
    }
    intent(owner, ChildKind::SecretStore, STORE, &json!({"spec": {"provider": {"vault": provider}}}))
}

fn external_secret(owner: Owner<'_>, path: &str, secrets: &[&SecretStatus]) -> Intent {
    let name = secret_name(path);
    let data: Vec<Value> = secrets
        .iter()
        .map(|secret| json!({"secretKey": secret.name, "remoteRef": {"key": path, "property": secret.key}}))
        .collect();
    let spec = json!({
        "refreshPolicy": "Periodic",
        "refreshInterval": REFRESH,
        "secretStoreRef": {"kind": "SecretStore", "name": STORE},
        "target": {"name": name, "creationPolicy": "Owner", "deletionPolicy": "Retain"},
        "data": data,
    });
    intent(owner, ChildKind::ExternalSecret, &name, &json!({"spec": spec}))
}

fn vault_connection(owner: Owner<'_>, vault: &VaultSettings) -> Intent {
    let mut spec = json!({"address": vault.address, "skipTLSVerify": false});
    if !vault.ca.is_empty() {
        spec["caCertSecretRef"] = json!(CA_SECRET);
    }
    intent(owner, ChildKind::VaultConnection, STORE, &json!({"spec": spec}))
}

fn vault_auth(owner: Owner<'_>, vault: &VaultSettings, place: &Place) -> Intent {
    let mut spec = json!({
        "vaultConnectionRef": STORE,
        "method": "kubernetes",
        "mount": vault.auth_path,
        "kubernetes": {
            "role": place.role(),
            "serviceAccount": SERVICE_ACCOUNT,
            "audiences": [vault.audience],
            "tokenExpirationSeconds": 600,
        },
    });
    if !vault.namespace.is_empty() {
        spec["namespace"] = json!(vault.namespace);
    }
    intent(owner, ChildKind::VaultAuth, STORE, &json!({"spec": spec}))
}

/// It is always told which login to use: the operator's own default one is everybody's.
fn vault_static_secret(owner: Owner<'_>, vault: &VaultSettings, path: &str, secrets: &[&SecretStatus]) -> Intent {
    let name = secret_name(path);
    let templates: serde_json::Map<String, Value> = secrets
        .iter()
        .map(|secret| (secret.name.clone(), json!({"text": format!("{{{{- get .Secrets \"{}\" -}}}}", secret.key)})))
        .collect();
    let spec = json!({
        "vaultAuthRef": STORE,
        "mount": vault.mount,
        "type": "kv-v2",
        "path": path,
        "refreshAfter": REFRESH,
        "hmacSecretData": true,
        "destination": {
            "name": name,
            "create": true,
            "transformation": {"templates": templates, "excludes": [".*"], "excludeRaw": true},
        },
    });
    intent(owner, ChildKind::VaultStaticSecret, &name, &json!({"spec": spec}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_paths_never_share_a_secret() {
        assert_ne!(secret_name("a/b"), secret_name("a-b"));
        assert_eq!(secret_name("payments"), secret_name("payments"));
        assert!(secret_name(&"x/".repeat(120)).len() <= 63);
    }
}
