//! The rights that the operator needs, and nothing more: a table of what is done, by which code, and why.
//!
//! The chart's `ClusterRole` and `Role` are generated from it, and a test holds it against the API server's audit log: what is
//! used is granted, and what is granted is used. No `secrets`, no wildcard, no `escalate`; `bind` by name only.

use serde_json::{Value, json};

use super::{guard, world};
use crate::{
    api::GROUP,
    domain::{
        environment::children::ChildKind,
        vault::{SecretsOperator, TOKEN_ROLE},
    },
};

/// Name of the operator's `ServiceAccount`, `ClusterRole`, `Deployment` and `Lease`.
pub const OPERATOR: &str = "environment-manager";

/// One kind of objects, and what the operator does with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The API group; empty for the core.
    pub group: String,
    /// The plural name, with a subresource after a slash.
    pub resource: String,
    /// As in RBAC.
    pub verbs: Vec<&'static str>,
    /// The only names that it is granted for; empty for all.
    pub names: Vec<String>,
    /// What the verbs beyond reading are for.
    pub why: &'static str,
}

/// What the operator may do in every namespace.
#[must_use]
pub fn everywhere() -> Vec<Right> {
    let mut rights = vec![
        right(
            GROUP,
            "platformenvironments",
            &["get", "list", "watch", "patch", "delete"],
            "finalizers; the end of a ttl",
        ),
        right(GROUP, "platformenvironments/status", &["patch"], "status"),
        right(GROUP, "platformversions", &["get", "list", "watch", "patch"], "finalizers"),
        right(GROUP, "platformversions/status", &["patch"], "status"),
        right(
            GROUP,
            "environmentrevisions",
            &["get", "list", "watch", "create", "delete"],
            "commits; what is older than the history's limit",
        ),
        right(GROUP, "environmentrevisions/status", &["patch"], "how a deployment went"),
        right(
            GROUP,
            "promotions",
            &["get", "list", "watch", "create", "patch", "delete"],
            "those that a rule asks for; the mark of an end; ttlAfterFinished",
        ),
        right(GROUP, "promotions/status", &["patch"], "status"),
        looked_at("validatingadmissionpolicies"),
        looked_at("validatingadmissionpolicybindings"),
        right("events.k8s.io", "events", &["create", "patch"], "events; a repeated one is counted"),
    ];
    // A server-side apply that creates needs create and patch.
    rights.extend(ChildKind::ALL.into_iter().map(|kind| {
        let resource = world::resource(kind);
        let verbs = &["get", "list", "watch", "create", "patch", "delete"];
        right(&resource.group, &resource.plural, verbs, "what environments consist of")
    }));
    rights
}

/// What the operator may do in its own namespace only.
#[must_use]
pub fn at_home() -> Vec<Right> {
    let lease = |verbs| right("coordination.k8s.io", "leases", verbs, "leader election");
    // RBAC cannot limit a creation to a name.
    vec![lease(&["create"]), Right { names: vec![OPERATOR.to_owned()], ..lease(&["get", "update"]) }]
}

/// What the operator may do beside, where this secrets operator is installed and Vault is used.
#[must_use]
pub fn with_secrets_operator(operator: &SecretsOperator) -> Vec<Right> {
    let kinds = ChildKind::of_secrets(operator).iter().map(|kind| {
        let resource = world::resource(*kind);
        let verbs = &["get", "list", "watch", "create", "patch", "delete"];
        right(&resource.group, &resource.plural, verbs, "what brings secrets into environments")
    });
    let mut rights: Vec<Right> = kinds.collect();
    if matches!(operator, SecretsOperator::ExternalSecrets(..)) {
        let why = "External Secrets may ask for tokens of an environment's ServiceAccount";
        rights.push(Right { why, ..to_bind([TOKEN_ROLE.to_owned()]) });
    }
    rights
}

/// The chart's own policies, by name.
fn looked_at(resource: &str) -> Right {
    let why = "whether the policies are there, before it begins";
    let right = right("admissionregistration.k8s.io", resource, &["get"], why);
    Right { names: guard::policy_names(true).collect(), ..right }
}

/// The right to give away these `ClusterRoles`, for `spec.isolation.access`.
#[must_use]
pub fn to_bind(cluster_roles: impl IntoIterator<Item = String>) -> Right {
    let bind = right("rbac.authorization.k8s.io", "clusterroles", &["bind"], "spec.isolation.access");
    Right { names: cluster_roles.into_iter().collect(), ..bind }
}

/// As rules of a role.
#[must_use]
pub fn rules(rights: &[Right]) -> Value {
    rights.iter().map(Right::rule).collect()
}

impl Right {
    fn rule(&self) -> Value {
        let mut rule = json!({"apiGroups": [self.group], "resources": [self.resource], "verbs": self.verbs});
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

fn right(group: &str, resource: &str, verbs: &[&'static str], why: &'static str) -> Right {
    let (group, resource) = (group.to_owned(), resource.to_owned());
    Right { group, resource, verbs: verbs.to_vec(), names: vec![], why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_right_is_wider_than_it_must_be() {
        let rights = [everywhere(), at_home(), vec![to_bind(["view".to_owned()])]].concat();
        for rule in rules(&rights).as_array().unwrap() {
            let text = rule.to_string();
            assert!(!["\"*\"", "secrets", "escalate", "impersonate"].iter().any(|word| text.contains(word)), "{text}");
            if text.contains("bind\"") {
                assert_eq!(rule["resourceNames"], json!(["view"]));
            }
        }
    }
}
