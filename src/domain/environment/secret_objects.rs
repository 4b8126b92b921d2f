//! The objects by which a secrets operator brings an environment's secrets into its namespace. We build them, and do not run them.
//!
//! <https://external-secrets.io/latest/provider/hashicorp-vault/> and
//! <https://developer.hashicorp.com/vault/docs/deploy/kubernetes/vso/api-reference>

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::children::{ChildKind, Intent, Owner, intent};
use crate::{
    api::{Digest, SecretStatus},
    domain::vault::{Place, SERVICE_ACCOUNT, SecretsOperator, TOKEN_ROLE, VaultSettings},
};

/// The name of the store, or of the connection and the login.
const STORE: &str = "vault";
/// The name of the `RoleBinding` by which External Secrets may ask for tokens.
pub(super) const TOKEN_BINDING: &str = "vault-token";
/// The Secret in the environment's namespace with Vault's certificate authority, for the Vault Secrets Operator alone.
const CA_SECRET: &str = "vault-ca";
/// The longest name that an object may have.
const LONGEST_NAME: usize = 253;
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

/// The name of the Secret with the values of one path, and of the object that brings it: the same in every environment, so that what
/// is deployed names it everywhere alike. Of two paths it is never the same: they have no dots, and no two hyphens at their beginning.
#[must_use]
pub fn secret_name(place: &Place, path: &str) -> String {
    let (kind, relative) = match path.strip_prefix(&format!("{}/", place.prefix())) {
        Some(own) => ("secret", own),
        // pf/<project>/<area>/<path>: which area does not matter, since an environment reads one of them.
        None => ("shared", path.splitn(4, '/').last().unwrap_or_default()),
    };
    let name = format!("{kind}-{}", relative.replace('/', "."));
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let head: String = relative.replace('/', ".").chars().take(LONGEST_NAME / 2).collect();
    format!("{kind}--{}-{}", head.trim_end_matches(['-', '.']), Digest::of(relative.as_bytes()).short(32))
}

/// What brings the secrets that have a value. One that never had one would keep the others of its path away. One that is lost stays where
/// it was brought: applications that run have it, and it may come back.
#[must_use]
pub fn children(owner: Owner<'_>, vault: &VaultSettings, place: &Place, secrets: &[SecretStatus]) -> Vec<Intent> {
    if !vault.installed {
        return vec![];
    }
    let mut paths: BTreeMap<&str, Vec<&SecretStatus>> = BTreeMap::new();
    for secret in secrets.iter().filter(|secret| secret.state.was_there()) {
        paths.entry(&secret.path).or_default().push(secret);
    }
    let mut children = match vault.secrets_operator {
        SecretsOperator::None => return vec![],
        SecretsOperator::ExternalSecrets(..) => vec![secret_store(owner, vault, place)],
        SecretsOperator::VaultSecrets => vec![vault_connection(owner, vault), vault_auth(owner, vault, place)],
    };
    children.extend(paths.into_iter().map(|(path, secrets)| match vault.secrets_operator {
        SecretsOperator::VaultSecrets => vault_static_secret(owner, vault, place, path, &secrets),
        _ => external_secret(owner, place, path, &secrets),
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
            "serviceAccountRef": {"name": SERVICE_ACCOUNT, "audiences": [place.audience(vault)]},
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

fn external_secret(owner: Owner<'_>, place: &Place, path: &str, secrets: &[&SecretStatus]) -> Intent {
    let name = secret_name(place, path);
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
            "audiences": [place.audience(vault)],
            "tokenExpirationSeconds": 600,
        },
    });
    if !vault.namespace.is_empty() {
        spec["namespace"] = json!(vault.namespace);
    }
    intent(owner, ChildKind::VaultAuth, STORE, &json!({"spec": spec}))
}

/// It is always told which login to use: the operator's own default one is everybody's.
fn vault_static_secret(
    owner: Owner<'_>,
    vault: &VaultSettings,
    place: &Place,
    path: &str,
    secrets: &[&SecretStatus],
) -> Intent {
    let name = secret_name(place, path);
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

    use proptest::prelude::*;

    fn place(environment: &str) -> Place {
        Place::of("pf-872", environment, "1a2b3c4d-0000")
    }

    fn own(environment: &str, path: &str) -> String {
        secret_name(&place(environment), &place(environment).path(path))
    }

    #[test]
    fn a_secret_is_called_alike_in_every_environment() {
        assert_eq!(own("dev", "payments"), "secret-payments");
        assert_eq!(own("production", "payments/keys"), "secret-payments.keys");
        let shared = place("dev").shared(crate::api::EnvironmentClass::Staging, "payments");
        assert_eq!(secret_name(&place("dev"), &shared), "shared-payments");
    }

    #[test]
    fn two_paths_never_share_a_name() {
        assert_ne!(own("dev", "a/b"), own("dev", "a-b"));
        let (one, other) = ("x/".repeat(127) + "y", "x/".repeat(127) + "z");
        assert_ne!(own("dev", &one), own("dev", &other));
        assert_eq!(own("dev", &one), own("production", &one));
        // One that looks like the shortened name of another one.
        let short = own("dev", &one);
        let looks_like = short.trim_start_matches("secret-").trim_start_matches('-').replace('.', "/");
        assert_ne!(own("dev", &looks_like), short);
    }

    proptest! {
        #[test]
        fn a_name_is_one_that_the_api_server_takes(path in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(/[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?){0,12}") {
            let name = own("dev", &path);
            prop_assert!(name.len() <= LONGEST_NAME);
            let labels = name.split('.');
            prop_assert!(labels.into_iter().all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')));
        }
    }
}
