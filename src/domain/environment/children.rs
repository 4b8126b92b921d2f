//! The objects that an environment consists of, as the API server should have them.
//!
//! An [`Intent`] is the body of a server-side apply: exactly the fields that are ours, nothing else. Adding a child is
//! one function here and one line in [`isolation_children`] or [`release_children`].

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

pub use self::kind::{ChildId, ChildKind};
use super::{flagd, ownership::OwnedFields, secret_objects};
use crate::{
    api::{
        ANNOTATION_INTENT, Digest, EnvironmentClass, LABEL_CLASS, LABEL_ENVIRONMENT, LABEL_ENVIRONMENT_UID,
        LABEL_PROJECT, PlatformEnvironmentStatus, Release,
        isolation::{Access, EffectiveIsolation},
        revision::EffectiveConfiguration,
    },
    domain::{
        canonical,
        settings::Settings,
        vault::{SERVICE_ACCOUNT, SecretsOperator, VaultSettings, WORKLOAD},
    },
};

mod kind;

/// What one child should look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Which child.
    pub id: ChildId,
    /// The body of the server-side apply.
    pub body: Value,
    /// The value of the intent annotation: the environment's UID and the digest of the body.
    pub mark: IntentMark,
    /// What we own once the body was applied.
    pub owned: OwnedFields,
}

/// The value of the intent annotation: whose child it is, and what it should look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentMark(String);

impl IntentMark {
    fn new(environment_uid: &str, body: &Value) -> Self {
        Self(format!("{environment_uid}:{}", canonical::digest(body).short(32)))
    }

    /// Reads an annotation's value.
    #[must_use]
    pub fn read(annotation: &str) -> Self {
        Self(annotation.to_owned())
    }

    /// A short form to keep in memory and compare with. Only ever compared within one process.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    /// The UID of the environment that the child belongs to.
    #[must_use]
    pub fn environment_uid(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

/// The environment that children are made for.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The project: the namespace of the custom resource.
    pub project: &'a str,
    /// The environment's name.
    pub environment: &'a str,
    /// The environment's UID.
    pub uid: &'a str,
    /// The environment's namespace.
    pub namespace: &'a str,
    /// The environment's class.
    pub class: EnvironmentClass,
}

/// The namespace with its Pod Security labels (<https://kubernetes.io/docs/concepts/security/pod-security-admission/>).
#[must_use]
pub fn namespace(owner: Owner<'_>, isolation: &EffectiveIsolation) -> Intent {
    let level = isolation.pod_security.as_str();
    let labels = json!({
        LABEL_CLASS: owner.class.as_str(),
        "pod-security.kubernetes.io/enforce": level,
        "pod-security.kubernetes.io/audit": level,
        "pod-security.kubernetes.io/warn": level,
    });
    intent(owner, ChildKind::Namespace, owner.namespace, &json!({"metadata": {"labels": labels}}))
}

const ALLOW_GATEWAYS: &str = "allow-gateways";
const ALLOW_INTERNET: &str = "allow-internet";
const ALLOW_VAULT: &str = "allow-vault";

/// Everything that keeps the environment apart, and lets people look into it.
#[must_use]
pub fn isolation_children(
    owner: Owner<'_>,
    isolation: &EffectiveIsolation,
    access: &[&Access],
    settings: &Settings,
) -> Vec<Intent> {
    let mut children = vec![
        service_account(owner),
        resource_quota(owner, isolation),
        limit_range(owner, isolation),
        default_deny(owner),
        allow_dns(owner),
        allow_same_namespace(owner),
    ];
    if !isolation.gateways.is_empty() {
        children.push(allow_gateways(owner, isolation, settings));
    }
    if isolation.internet {
        children.push(allow_internet(owner));
    }
    children.extend(access.iter().map(|access| role_binding(owner, access)));
    if let Some(vault) = &settings.vault {
        children.extend(allow_vault(owner, vault));
        children.extend(secret_objects::identity(owner, vault));
    }
    children
}

/// Whether an environment with this status had this child: what always is there, what its isolation asks for, and what brings its
/// secrets.
#[must_use]
pub fn belongs_to(child: &ChildId, status: &PlatformEnvironmentStatus) -> bool {
    let isolation = |asks: &dyn Fn(&EffectiveIsolation) -> bool| status.isolation.as_ref().is_some_and(asks);
    let brings = || status.secrets.iter().any(|secret| secret.secret.is_some());
    match (child.kind, child.name.as_str()) {
        (ChildKind::ConfigMap, name) => status
            .release
            .as_ref()
            .is_some_and(|release| [release.variables.as_str(), release.flags.as_str(), "release"].contains(&name)),
        (ChildKind::NetworkPolicy, ALLOW_GATEWAYS) => isolation(&|isolation| !isolation.gateways.is_empty()),
        (ChildKind::NetworkPolicy, ALLOW_INTERNET) => isolation(&|isolation| isolation.internet),
        (ChildKind::NetworkPolicy, ALLOW_VAULT) => status.vault.is_some() && !brings(),
        (ChildKind::ServiceAccount, SERVICE_ACCOUNT) | (ChildKind::RoleBinding, secret_objects::TOKEN_BINDING) => {
            brings()
        }
        (ChildKind::RoleBinding, name) => {
            isolation(&|isolation| isolation.roles.iter().any(|role| role_binding_name(role) == name))
        }
        (ChildKind::ExternalSecret | ChildKind::VaultStaticSecret, name) => {
            status.secrets.iter().any(|secret| secret.secret.as_deref() == Some(name))
        }
        (kind, _) if kind.brings_secrets() => brings(),
        _ => status.isolation.is_some(),
    }
}

/// The identity of the environment's applications. Nothing mounts its token unasked.
fn service_account(owner: Owner<'_>) -> Intent {
    intent(owner, ChildKind::ServiceAccount, WORKLOAD, &json!({"automountServiceAccountToken": false}))
}

/// A Service that opens a port on every node, or a load balancer, would go around the gateways: none of them.
fn resource_quota(owner: Owner<'_>, isolation: &EffectiveIsolation) -> Intent {
    let quota = &isolation.quota;
    let hard = json!({
        "requests.cpu": quota.cpu,
        "requests.memory": quota.memory,
        "limits.memory": quota.memory,
        "requests.storage": quota.storage,
        "pods": quota.pods.to_string(),
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    });
    intent(owner, ChildKind::ResourceQuota, "environment", &json!({"spec": {"hard": hard}}))
}

fn limit_range(owner: Owner<'_>, isolation: &EffectiveIsolation) -> Intent {
    let limits = &isolation.limits;
    let container = json!({
        "type": "Container",
        "defaultRequest": {"cpu": limits.default_cpu, "memory": limits.default_memory},
        "default": {"memory": limits.default_memory},
    });
    intent(owner, ChildKind::LimitRange, "environment", &json!({"spec": {"limits": [container]}}))
}

/// Ingress and egress are given although they are empty: so they are ours, and a rule that somebody adds is drift.
fn default_deny(owner: Owner<'_>) -> Intent {
    network_policy(owner, "default-deny", &json!(["Ingress", "Egress"]), &json!([]), &json!([]))
}

fn allow_dns(owner: Owner<'_>) -> Intent {
    let egress = json!([{
        "to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }]);
    network_policy(owner, "allow-dns", &json!(["Egress"]), &json!([]), &egress)
}

fn allow_same_namespace(owner: Owner<'_>) -> Intent {
    let ingress = json!([{"from": [{"podSelector": {}}]}]);
    let egress = json!([{"to": [{"podSelector": {}}]}]);
    network_policy(owner, "allow-same-namespace", &json!(["Ingress", "Egress"]), &ingress, &egress)
}

/// A gateway is known by its namespace's name, a label that only the API server sets.
fn allow_gateways(owner: Owner<'_>, isolation: &EffectiveIsolation, settings: &Settings) -> Intent {
    let from: Vec<Value> = isolation
        .gateways
        .iter()
        .filter_map(|gateway| settings.gateways.get(gateway))
        .map(|namespace| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}))
        .collect();
    network_policy(owner, ALLOW_GATEWAYS, &json!(["Ingress"]), &json!([{"from": from}]), &json!([]))
}

/// Public addresses only: no private range (RFC 1918, RFC 6598, RFC 4193), no link-local one, where clouds keep their
/// metadata service with its credentials.
fn allow_internet(owner: Owner<'_>) -> Intent {
    let private = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];
    let private_v6 = ["fc00::/7", "fe80::/10"];
    let egress = json!([{"to": [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": private}},
        {"ipBlock": {"cidr": "::/0", "except": private_v6}},
    ]}]);
    network_policy(owner, ALLOW_INTERNET, &json!(["Egress"]), &json!([]), &egress)
}

/// Applications that ask Vault themselves reach it, where it is in the cluster. Where it is elsewhere nobody knows by which addresses.
fn allow_vault(owner: Owner<'_>, vault: &VaultSettings) -> Option<Intent> {
    let namespace = vault.cluster_namespace().filter(|_| vault.secrets_operator == SecretsOperator::None)?;
    let ports: Vec<Value> = vault.ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect();
    let to = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
    let egress = json!([{"to": [to], "ports": ports}]);
    Some(network_policy(owner, ALLOW_VAULT, &json!(["Egress"]), &json!([]), &egress))
}

fn network_policy(owner: Owner<'_>, name: &str, types: &Value, ingress: &Value, egress: &Value) -> Intent {
    let spec = json!({"podSelector": {}, "policyTypes": types, "ingress": ingress, "egress": egress});
    intent(owner, ChildKind::NetworkPolicy, name, &json!({"spec": spec}))
}

/// `ServiceAccounts` come from the project's own namespace, never from another one.
fn role_binding(owner: Owner<'_>, access: &Access) -> Intent {
    let subject =
        |kind: &str, name: &String| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let users = access.users.iter().map(|name| subject("User", name));
    let groups = access.groups.iter().map(|name| subject("Group", name));
    let accounts = access
        .service_accounts
        .iter()
        .map(|name| json!({"kind": "ServiceAccount", "name": name, "namespace": owner.project}));
    let body = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": access.role},
        "subjects": users.chain(groups).chain(accounts).collect::<Vec<_>>(),
    });
    intent(owner, ChildKind::RoleBinding, &role_binding_name(&access.role), &body)
}

fn role_binding_name(role: &str) -> String {
    format!("access-{role}")
}

/// Hexadecimal digits of a digest in a name: 128 bits, so that nobody finds two contents of one name.
const NAME_DIGITS: usize = 32;

/// The name of the `ConfigMap` that holds variables with this digest.
#[must_use]
pub fn variables_name(digest: &Digest) -> String {
    format!("variables-{}", digest.short(NAME_DIGITS))
}

/// The name of the `ConfigMap` that holds flags with this digest.
#[must_use]
pub fn flags_name(digest: &Digest) -> String {
    format!("flags-{}", digest.short(NAME_DIGITS))
}

/// The release's content: immutable `ConfigMaps` that are named by what they hold, so that none of them ever changes.
#[must_use]
pub fn release_children(owner: Owner<'_>, release: &Release, config: &EffectiveConfiguration) -> [Intent; 2] {
    let plain = config.variables.iter().filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?)));
    let variables: serde_json::Map<String, Value> = plain.map(|(name, value)| (name, Value::String(value))).collect();
    let flags = json!({"flags.json": flagd::document(&config.flags).to_string()});
    [
        intent(owner, ChildKind::ConfigMap, &release.variables, &json!({"immutable": true, "data": variables})),
        intent(owner, ChildKind::ConfigMap, &release.flags, &json!({"immutable": true, "data": flags})),
    ]
}

/// The one `ConfigMap` with a stable name: it points at what applies now.
#[must_use]
pub fn release_pointer(owner: Owner<'_>, release: &Release) -> Intent {
    let mut data = json!({
        "project": owner.project,
        "environment": owner.environment,
        "revision": release.revision.to_string(),
        "configDigest": release.config_digest.to_string(),
        "variables": release.variables,
        "flags": release.flags,
    });
    if let (Some(version), Some(digest)) = (&release.version, &release.version_digest) {
        data["version"] = json!(version);
        data["versionDigest"] = json!(digest);
    }
    intent(owner, ChildKind::ConfigMap, "release", &json!({"data": data}))
}

/// Completes a body with identity, labels and the intent annotation.
///
/// The labels are ours alone: none that Argo CD or Flux would take for theirs, so neither adopts or prunes a child.
pub(super) fn intent(owner: Owner<'_>, kind: ChildKind, name: &str, content: &Value) -> Intent {
    let mut body = content.clone();
    body["apiVersion"] = json!(kind.api_version());
    body["kind"] = json!(kind.as_str());
    body["metadata"]["name"] = json!(name);
    if kind != ChildKind::Namespace {
        body["metadata"]["namespace"] = json!(owner.namespace);
    }
    body["metadata"]["labels"][LABEL_PROJECT] = json!(owner.project);
    body["metadata"]["labels"][LABEL_ENVIRONMENT] = json!(owner.environment);
    body["metadata"]["labels"][LABEL_ENVIRONMENT_UID] = json!(owner.uid);
    let mark = IntentMark::new(owner.uid, &body);
    body["metadata"]["annotations"][ANNOTATION_INTENT] = json!(mark.0);
    let fields = OwnedFields::of_body(&body, kind.atomic_fields());
    Intent { id: ChildId { kind, name: name.to_owned() }, body, mark, owned: fields }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::environment::isolation;

    const OWNER: Owner<'_> = Owner {
        project: "pf-872",
        environment: "staging",
        uid: "u-1",
        namespace: "pf-872--staging",
        class: EnvironmentClass::Staging,
    };

    fn settings() -> Settings {
        Settings { gateways: [("public".to_owned(), "gateway-system".to_owned())].into(), ..Settings::default() }
    }

    fn names(class: EnvironmentClass) -> Vec<String> {
        let isolation = isolation::effective(class, None, &settings()).0;
        isolation_children(OWNER, &isolation, &[], &settings()).iter().map(|intent| intent.id.to_string()).collect()
    }

    #[test]
    fn every_child_carries_the_mark_of_its_environment_and_its_namespace() {
        let isolation = isolation::effective(EnvironmentClass::Development, None, &settings()).0;
        for child in isolation_children(OWNER, &isolation, &[], &settings()) {
            assert_eq!(child.body["metadata"]["labels"][LABEL_ENVIRONMENT_UID], "u-1", "{}", child.id);
            assert_eq!(child.body["metadata"]["namespace"], "pf-872--staging", "{}", child.id);
            assert_eq!(child.mark.environment_uid(), "u-1");
        }
    }

    #[test]
    fn only_development_reaches_the_internet() {
        assert!(names(EnvironmentClass::Development).contains(&"NetworkPolicy allow-internet".to_owned()));
        assert!(!names(EnvironmentClass::Production).contains(&"NetworkPolicy allow-internet".to_owned()));
    }

    #[test]
    fn what_belongs_to_an_isolation_is_what_it_makes() {
        let view = Access { role: "view".into(), users: vec!["ana".into()], groups: vec![], service_accounts: vec![] };
        let mut isolation = isolation::effective(EnvironmentClass::Development, None, &settings()).0;
        isolation.roles = vec!["view".to_owned()];
        let all: Vec<ChildId> =
            isolation_children(OWNER, &isolation, &[&view], &settings()).into_iter().map(|intent| intent.id).collect();
        let mut status = PlatformEnvironmentStatus { isolation: Some(isolation.clone()), ..Default::default() };
        assert!(all.iter().all(|child| belongs_to(child, &status)));
        isolation.gateways.clear();
        isolation.roles.clear();
        isolation.internet = false;
        let fewer = isolation_children(OWNER, &isolation, &[], &settings());
        let made = |child: &ChildId| fewer.iter().any(|intent| intent.id == *child);
        assert_eq!(fewer.len(), all.len() - 3);
        status.isolation = Some(isolation);
        assert!(all.iter().all(|child| belongs_to(child, &status) == made(child)));
    }

    #[test]
    fn what_a_secrets_operator_executes_was_there_once_it_brought_something() {
        let child = |kind, name: &str| ChildId { kind, name: name.to_owned() };
        let children = [
            child(ChildKind::ServiceAccount, "vault"),
            child(ChildKind::RoleBinding, "vault-token"),
            child(ChildKind::SecretStore, "vault"),
            child(ChildKind::ExternalSecret, "secret-a"),
        ];
        let isolation = isolation::effective(EnvironmentClass::Staging, None, &settings()).0;
        let mut status = PlatformEnvironmentStatus { isolation: Some(isolation), ..Default::default() };
        assert!(!children.iter().any(|child| belongs_to(child, &status)), "it is new, and nobody took it away");
        status.secrets.push(crate::api::SecretStatus {
            name: "A".to_owned(),
            path: "a".to_owned(),
            key: "a".to_owned(),
            strategy: None,
            state: crate::api::SecretState::Ready,
            secret: Some("secret-a".to_owned()),
        });
        assert!(children.iter().all(|child| belongs_to(child, &status)));
        assert!(!belongs_to(&child(ChildKind::ExternalSecret, "secret-b"), &status), "one that was added since");
    }

    #[test]
    fn the_mark_changes_with_the_intent_and_only_then() {
        let isolation = isolation::effective(EnvironmentClass::Staging, None, &settings()).0;
        let mut larger = isolation.clone();
        larger.quota.pods += 1;
        assert_eq!(resource_quota(OWNER, &isolation).mark, resource_quota(OWNER, &isolation).mark);
        assert_ne!(resource_quota(OWNER, &isolation).mark, resource_quota(OWNER, &larger).mark);
    }

    #[test]
    fn secret_references_are_not_in_the_variables_config_map() {
        let config: EffectiveConfiguration = serde_json::from_value(json!({"variables": [
            {"name": "API_KEY", "vault": {"path": "payments", "key": "api_key"}, "since": 1},
            {"name": "BASE_URL", "value": "https://x", "since": 1},
        ]}))
        .unwrap();
        let digest = Digest::of(b"");
        let release = Release {
            revision: crate::api::RevisionNumber::FIRST,
            version: None,
            version_digest: None,
            config_digest: digest,
            variables: variables_name(&digest),
            flags: flags_name(&digest),
            state: crate::api::ReleaseState::ReadyForDeploy,
            since: jiff::Timestamp::UNIX_EPOCH,
        };
        let [variables, _] = release_children(OWNER, &release, &config);
        assert_eq!(variables.body["data"], json!({"BASE_URL": "https://x"}));
    }
}
