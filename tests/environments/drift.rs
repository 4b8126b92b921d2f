//! Drift: what is ours is put right, what is not ours is left alone.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Child, Environment, Project, chart::UNGUARDED, eventually};

/// An environment with a child of each kind.
fn complete(project: &Project) -> Environment<'_> {
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    project.environment("staging").variable("A", "1").with("isolation", access).ready()
}

/// Says how fast a repair was. The bound is far above what it takes, since machines of tests are busy.
fn report(what: &Child, took: Duration) {
    println!("{what} was put right in {} ms", took.as_millis());
    assert!(took < Duration::from_secs(20), "{what}: {took:?}");
}

/// Changes a child as `kubectl edit` does and expects that to be undone, and told.
fn is_undone(environment: &Environment<'_>, child: &Child, patch: &Value) {
    let before = child.live();
    child.patch_as("kubectl-edit", patch);
    report(child, child.wait_restored(&before));
    let name = before["metadata"]["name"].as_str().unwrap();
    environment.wait_event("DriftRepaired", &[name, "was changed by kubectl-edit", "put right"]);
}

#[test]
fn an_edit_of_the_namespaces_labels_is_undone() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let labels = json!({"pod-security.kubernetes.io/enforce": "privileged"});
    is_undone(&staging, &staging.namespace_object(), &json!({"metadata": {"labels": labels}}));
}

#[test]
fn an_edit_of_the_service_account_is_undone() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let account = staging.child("serviceaccount", "workload");
    is_undone(&staging, &account, &json!({"automountServiceAccountToken": true}));
}

#[test]
fn an_edit_of_the_quota_is_undone() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let quota = staging.child("resourcequota", "environment");
    is_undone(&staging, &quota, &json!({"spec": {"hard": {"pods": "9999"}}}));
}

#[test]
fn an_edit_of_the_limits_is_undone() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let limits = json!([{"type": "Container", "default": {"memory": "8Gi"}}]);
    is_undone(&staging, &staging.child("limitrange", "environment"), &json!({"spec": {"limits": limits}}));
}

#[test]
fn a_rule_added_to_default_deny_is_taken_out() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let policy = staging.child("networkpolicy", "default-deny");
    is_undone(&staging, &policy, &json!({"spec": {"ingress": [{}]}}));
    is_undone(&staging, &policy, &json!({"spec": {"egress": [{}]}}));
}

#[test]
fn a_direction_taken_out_of_default_deny_is_put_back() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let policy = staging.child("networkpolicy", "default-deny");
    is_undone(&staging, &policy, &json!({"spec": {"policyTypes": ["Ingress"]}}));
    is_undone(&staging, &policy, &json!({"spec": {"podSelector": {"matchLabels": {"nobody": "has-it"}}}}));
}

#[test]
fn an_edit_of_a_role_binding_is_undone() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let mallory = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}]);
    is_undone(&staging, &staging.child("rolebinding", "access-view"), &json!({"subjects": mallory}));
}

#[test]
fn an_edit_of_the_release_is_undone() {
    let project = Project::new("shop");
    let staging = complete(&project);
    is_undone(&staging, &staging.child("configmap", "release"), &json!({"data": {"revision": "99"}}));
}

#[test]
fn the_content_of_a_release_cannot_be_edited() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let name = staging.release()["variables"].as_str().unwrap().to_owned();
    let args = ["patch", "configmap", &name, "--namespace", &staging.namespace(), "--type=merge"];
    let refusal = project.try_kubectl(&[&args[..], &["--patch", r#"{"data": {"A": "2"}}"#]].concat()).unwrap_err();
    assert!(refusal.to_string().contains("immutable"), "{refusal}");
}

#[test]
fn every_child_that_somebody_deletes_is_made_again() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let release = staging.release();
    let content = |name: &str| staging.child("configmap", release[name].as_str().unwrap());
    let children = [
        staging.child("serviceaccount", "workload"),
        staging.child("resourcequota", "environment"),
        staging.child("limitrange", "environment"),
        staging.child("networkpolicy", "default-deny"),
        staging.child("networkpolicy", "allow-dns"),
        staging.child("networkpolicy", "allow-same-namespace"),
        staging.child("networkpolicy", "allow-gateways"),
        staging.child("rolebinding", "access-view"),
        staging.child("configmap", "release"),
        content("variables"),
        content("flags"),
    ];
    for child in children {
        let before = child.live();
        child.delete();
        let took = child.wait_restored(&before);
        report(&child, took);
        assert_ne!(child.live()["metadata"]["uid"], before["metadata"]["uid"], "{child} was not deleted at all");
        let name = before["metadata"]["name"].as_str().unwrap();
        staging.wait_event("DriftRepaired", &[name, "was missing", "put right"]);
    }
    assert_eq!(staging.history().len(), 1, "no revision was due");
}

#[test]
fn a_namespace_that_somebody_deletes_is_made_again_with_the_same_revision() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let (release, uid) =
        (staging.live()["status"]["release"].take(), staging.namespace_object().live()["metadata"]["uid"].take());
    staging.namespace_object().delete();
    staging.wait_for("trouble", |object| crate::support::condition(object, "Ready").unwrap()["status"] == "False");
    staging.namespace_object().wait_for("another incarnation", |namespace| namespace["metadata"]["uid"] != uid);
    assert_eq!(staging.wait_ready()["status"]["release"], release);
    assert_eq!(staging.history().len(), 1);
    assert_eq!(staging.variables(), json!({"A": "1"}));
    staging.child("networkpolicy", "default-deny").live();
    staging.wait_event("Recovered", &[]);
}

#[test]
fn a_field_that_was_taken_out_is_put_back_and_blamed_on_nobody() {
    let project = Project::new("shop");
    let staging = complete(&project);
    let policy = staging.child("networkpolicy", "allow-dns");
    policy.patch_as("auditor", &json!({"metadata": {"annotations": {"audit.example/seen": "yes"}}}));
    let before = policy.live();
    policy.patch_as("kubectl-edit", &json!({"spec": {"egress": []}}));
    report(&policy, policy.wait_restored(&before));
    let note = staging.wait_event("DriftRepaired", &["allow-dns", "put right"]);
    assert_eq!(note, "NetworkPolicy allow-dns was changed and was put right");
}

#[test]
fn what_others_add_survives_a_repair() {
    let project = Project::new("shop");
    let staging = complete(&project);
    project.unguard(&staging.namespace());
    let namespace = staging.namespace_object();
    namespace.patch_as(
        "cost-tool",
        &json!({"metadata": {
            "labels": {"cost-center": "42"}, "annotations": {"cost.example/owner": "ana"},
        }}),
    );
    let release = staging.child("configmap", "release");
    release.patch_as("planner", &json!({"data": {"deployedBy": "planner"}}));
    let policy = staging.child("networkpolicy", "allow-dns");
    policy.patch_as("auditor", &json!({"metadata": {"annotations": {"audit.example/seen": "yes"}}}));

    is_undone(&staging, &namespace, &json!({"metadata": {"labels": {"platform.puraify.app/class": "Production"}}}));
    is_undone(&staging, &release, &json!({"data": {"revision": "99"}}));
    is_undone(&staging, &policy, &json!({"spec": {"egress": [{}]}}));
    let metadata = namespace.live()["metadata"].take();
    assert_eq!(metadata["labels"]["cost-center"], "42");
    assert_eq!(metadata["annotations"]["cost.example/owner"], "ana");
    assert_eq!(policy.live()["metadata"]["annotations"]["audit.example/seen"], "yes");
    staging.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "2"}]}}));
    let data = release.live()["data"].take();
    assert_eq!((&data["deployedBy"], &data["revision"]), (&json!("planner"), &json!("2")));
}

#[test]
fn our_labels_and_our_mark_come_back() {
    let project = Project::new("shop");
    let staging = complete(&project);
    project.unguard(&staging.namespace());
    let children = [
        staging.namespace_object(),
        staging.child("configmap", "release"),
        staging.child("resourcequota", "environment"),
        staging.child("rolebinding", "access-view"),
    ];
    for child in children {
        for patch in [
            json!({"labels": {"platform.puraify.app/environment-uid": null}}),
            json!({"labels": {"platform.puraify.app/environment-uid": "another"}}),
            json!({"labels": {"platform.puraify.app/environment": null}}),
            json!({"annotations": {"platform.puraify.app/intent": null}}),
            json!({"annotations": {"platform.puraify.app/intent": "nonsense"}}),
        ] {
            let before = child.live();
            child.patch_as("kubectl-edit", &json!({"metadata": patch}));
            println!("{patch}");
            report(&child, child.wait_restored(&before));
        }
    }
    staging.wait_ready();
}

#[test]
fn a_namespace_of_somebody_else_is_never_adopted() {
    let project = Project::new("shop");
    let staging = project.environment("staging");
    let theirs = project.existing("staging").namespace_object();
    let labels = json!({"team": "other"});
    let name = project.existing("staging").namespace();
    project.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
    let before = theirs
        .wait_for("its labels", |namespace| !namespace["metadata"]["labels"]["kubernetes.io/metadata.name"].is_null());

    let staging = staging.create();
    let message = staging.wait_condition("Stalled", "NotOurs");
    assert!(message.contains(&name) && message.contains("Delete or rename"), "{message}");
    assert_eq!(staging.condition("NamespaceReady").unwrap()["status"], "False");
    assert_eq!(staging.live()["status"]["phase"], "Pending");
    staging.wait_event("NotOurs", &[&name]);
    assert_eq!(theirs.live(), before, "it was touched");
    assert_eq!(staging.children("configmap"), Vec::<Value>::new());

    theirs.delete();
    staging.wait_ready();
    assert_eq!(staging.history().len(), 1);
}

#[test]
fn a_namespace_that_only_looks_like_ours_is_never_adopted() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let forged = project.existing("forged");
    let labels = json!({
        "platform.puraify.app/environment-uid": staging.uid(), "platform.puraify.app/environment": "forged",
        "platform.puraify.app/project": project.namespace(), UNGUARDED: "true",
    });
    let name = forged.namespace();
    project.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
    let environment = project.environment("forged").create();
    environment.wait_condition("Stalled", "NotOurs");
    let manager = environment.namespace_object().live()["metadata"]["managedFields"].to_string();
    assert!(!manager.contains("environment-manager"), "{manager}");
    environment.namespace_object().delete();
    environment.wait_ready();
}

#[test]
fn a_child_of_somebody_else_is_never_adopted() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let theirs = staging.child("rolebinding", "access-view");
    project.create(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "access-view", "namespace": staging.namespace()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "zoe"}],
    }));
    let before = theirs.live();
    staging.edit(&json!({"isolation": {"access": [{"role": "view", "users": ["ana"]}]}}));
    let message = staging.wait_condition("Stalled", "NotOurs");
    assert!(message.contains("RoleBinding access-view"), "{message}");
    assert_eq!(staging.condition("Isolated").unwrap()["status"], "False");
    assert_eq!(staging.live()["status"]["phase"], "Degraded");
    assert_eq!(theirs.live(), before, "it was touched");
    // The rest goes on being kept in order.
    let policy = staging.child("networkpolicy", "default-deny");
    let intended = policy.live();
    policy.delete();
    policy.wait_restored(&intended);
    theirs.delete();
    staging.wait_ready();
    assert_eq!(theirs.live()["subjects"][0]["name"], "ana");
}

#[test]
fn objects_that_others_keep_in_the_namespace_are_left_alone() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app", "namespace": staging.namespace()}});
    project.create(&map);
    // Not ours either, although it carries our label.
    let labels = json!({"platform.puraify.app/environment-uid": staging.uid()});
    let metadata = json!({"name": "labelled", "namespace": staging.namespace(), "labels": labels});
    project.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}));
    staging.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "2"}]}}));
    staging.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "3"}]}}));
    eventually("the clearing away", || (staging.children("configmap").len() == 5).then_some(()));
    staging.child("configmap", "app").live();
    staging.child("configmap", "labelled").live();
}
