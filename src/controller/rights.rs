//! The rights that the operator needs, and nothing more: a table beside the code that uses them.
//!
//! The `ClusterRole` is generated from it. No `secrets`, no wildcard, no `escalate`; `bind` by name only.

use serde_json::{Value, json};

use crate::{
    api::GROUP,
    domain::{environment::children::ChildKind, settings::Settings},
};

use super::world;

/// Name of the operator's `ServiceAccount`, `ClusterRole` and `ClusterRoleBinding`.
pub const OPERATOR: &str = "environment-manager";

/// The operator's namespace, `ServiceAccount`, `ClusterRole` and binding, ready for `kubectl apply`.
#[must_use]
pub fn manifests(namespace: &str, settings: &Settings) -> Vec<Value> {
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": restricted}}),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": OPERATOR, "namespace": namespace},
            "automountServiceAccountToken": false,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": OPERATOR},
            "rules": rules(settings),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": OPERATOR},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OPERATOR},
            "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": namespace}],
        }),
    ]
}

/// The rules of the operator's `ClusterRole`.
#[must_use]
pub fn rules(settings: &Settings) -> Vec<Value> {
    let mut rules = vec![
        // Finalizers are a patch of the object; the end of a ttl is a delete.
        rule(GROUP, "platformenvironments", &["get", "list", "watch", "patch", "delete"]),
        rule(GROUP, "platformenvironments/status", &["patch"]),
        // The finalizer is a patch of the object.
        rule(GROUP, "platformversions", &["get", "list", "watch", "patch"]),
        rule(GROUP, "platformversions/status", &["patch"]),
        rule(GROUP, "environmentrevisions", &["get", "list", "watch", "create", "delete"]),
        rule(GROUP, "environmentrevisions/status", &["patch"]),
        // Created where a rule asks for it, marked at its end, deleted at the end of ttlAfterFinished.
        rule(GROUP, "promotions", &["get", "list", "watch", "create", "patch", "delete"]),
        rule(GROUP, "promotions/status", &["patch"]),
        rule("events.k8s.io", "events", &["create", "patch"]),
    ];
    // A server-side apply that creates needs create and patch.
    rules.extend(ChildKind::ALL.into_iter().map(|kind| {
        let resource = world::resource(kind);
        rule(&resource.group, &resource.plural, &["get", "list", "watch", "create", "patch", "delete"])
    }));
    if !settings.allowed_cluster_roles.is_empty() {
        let mut bind = rule("rbac.authorization.k8s.io", "clusterroles", &["bind"]);
        bind["resourceNames"] = json!(settings.allowed_cluster_roles);
        rules.push(bind);
    }
    rules
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_right_is_wider_than_it_must_be() {
        let settings = Settings { allowed_cluster_roles: ["view".to_owned()].into(), ..Settings::default() };
        for rule in rules(&settings) {
            let text = rule.to_string();
            assert!(!["\"*\"", "secrets", "escalate", "impersonate"].iter().any(|word| text.contains(word)), "{text}");
            if text.contains("bind\"") {
                assert_eq!(rule["resourceNames"], json!(["view"]));
            }
        }
    }
}
