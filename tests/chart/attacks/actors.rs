//! Who acts, and what they were given.

use serde_json::{Value, json};

use crate::support::{Project, chart};

/// Somebody whom the API server knows.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A short name for the table.
    pub name: &'static str,
    /// As the API server calls them.
    pub user: String,
    /// What they may do in the project.
    grants: Vec<Grant>,
}

/// A verb on a resource, of these environments only if it names any.
#[derive(Clone, Debug)]
struct Grant {
    verbs: &'static [&'static str],
    resource: &'static str,
    names: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch"];
const KINDS: [&str; 4] = ["platformenvironments", "platformversions", "promotions", "environmentrevisions"];
/// The chart's default for builders.
const BUILDERS: &[&str] = &["dev", "development", "test", "staging"];

/// All resources of the platform's group.
const OURS: &str = "*";
/// All resources of the cluster.
const EVERYTHING: &str = "**";

fn is_ours(resource: &str) -> bool {
    KINDS.contains(&resource.split('/').next().unwrap_or_default())
}

impl Actor {
    /// Whether RBAC grants this.
    pub fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        self.grants.iter().any(|grant| {
            (grant.verbs.contains(&verb) || grant.verbs.contains(&"*"))
                && (grant.resource == resource
                    || grant.resource == EVERYTHING
                    || (grant.resource == OURS && is_ours(resource)))
                && (grant.names.is_empty() || grant.names.contains(&name))
        })
    }
}

fn grant(verbs: &'static [&'static str], resource: &'static str) -> Grant {
    Grant { verbs, resource, names: &[] }
}

fn reader(more: Vec<Grant>) -> Vec<Grant> {
    KINDS.into_iter().map(|kind| grant(READ, kind)).chain(more).collect()
}

/// Everybody, with their roles bound in the project.
pub fn all(project: &Project) -> Vec<Actor> {
    let person = |name: &'static str, grants| Actor { name, user: format!("{}-{name}", project.namespace()), grants };
    let manager = || {
        reader(vec![
            grant(WRITE, "promotions"),
            grant(&["delete"], "promotions"),
            grant(&["promote", "rollback", "confirm"], "platformenvironments"),
        ])
    };
    let robot = format!("system:serviceaccount:{}:robot", project.namespace());
    let actors = vec![
        person("nobody", vec![]),
        person("viewer", reader(vec![])),
        person(
            "builder",
            reader(vec![
                grant(&["create", "update", "patch", "delete", "clone"], "platformenvironments"),
                grant(&["create"], "platformversions"),
                grant(WRITE, "promotions"),
                Grant { verbs: &["promote", "rollback"], resource: "platformenvironments", names: BUILDERS },
            ]),
        ),
        person("author", manager()),
        person("manager", manager()),
        person(
            "on-call",
            reader(vec![
                grant(WRITE, "promotions"),
                grant(&["promote", "rollback", "override"], "platformenvironments"),
            ]),
        ),
        person(
            "validator",
            vec![
                grant(READ, "platformversions"),
                grant(&["validate"], "platformversions"),
                grant(&["get", "update", "patch"], "platformversions/status"),
            ],
        ),
        person(
            "planner",
            vec![
                grant(READ, "platformenvironments"),
                grant(READ, "platformversions"),
                grant(READ, "environmentrevisions"),
                grant(&["report"], "platformenvironments"),
                grant(&["get", "update", "patch"], "platformenvironments/status"),
            ],
        ),
        person("auditor", reader(vec![])),
        person(
            "lead",
            reader(vec![
                grant(
                    &[
                        "create", "update", "patch", "delete", "clone", "promote", "rollback", "confirm", "override",
                        "govern",
                    ],
                    "platformenvironments",
                ),
                grant(&["create", "update", "patch", "delete", "govern"], "platformversions"),
                grant(&["create", "update", "patch", "delete", "govern"], "promotions"),
            ]),
        ),
        // Whoever grants "*" grants the custom verbs too: docs/security.md says so.
        person("wildcard", vec![grant(&["*"], OURS)]),
        Actor { name: "admin", user: "admin".to_owned(), grants: vec![grant(&["*"], EVERYTHING)] },
        Actor { name: "robot", user: robot, grants: manager() },
    ];
    bind(project, &actors);
    actors
}

fn bind(project: &Project, actors: &[Actor]) {
    let namespace = project.namespace();
    let roles = [
        ("viewer", "viewer"),
        ("builder", "builder"),
        ("author", "release-manager"),
        ("manager", "release-manager"),
        ("on-call", "on-call"),
        ("validator", "validator"),
        ("planner", "deployment-planner"),
        ("auditor", "auditor"),
        ("lead", "platform-admin"),
        ("robot", "release-manager"),
    ];
    let subject = |name: &str| {
        let user = &actors.iter().find(|actor| actor.name == name).unwrap().user;
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user})
    };
    let binding = |name: &str, kind: &str, role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [subject(name)],
        })
    };
    let mut objects: Vec<Value> =
        roles.iter().map(|(name, role)| binding(name, "ClusterRole", &format!("{}-{role}", chart::NAME))).collect();
    objects.push(binding("wildcard", "Role", "wildcard"));
    objects.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "wildcard", "namespace": namespace},
        "rules": [{"apiGroups": ["platform.puraify.app"], "resources": ["*"], "verbs": ["*"]}],
    }));
    objects.push(
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": namespace}}),
    );
    let manifests: Vec<String> = objects.iter().map(Value::to_string).collect();
    project.cluster().kubectl().create(&manifests.join("\n")).unwrap();
}
