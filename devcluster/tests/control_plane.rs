//! The control plane behaves as a real cluster does.

#![allow(clippy::unwrap_used, reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions")]

use std::path::Path;
use std::time::Duration;

use devcluster::{ControlPlane, Kubectl, wait_until};
use serde_json::{Value, json};

/// Far more than any of this takes on an idle machine.
const LIMIT: Duration = Duration::from_mins(1);

/// Waits until the API server gives the answer that kubectl is then successful with.
fn wait_for(kubectl: &Kubectl, args: &[&str]) {
    wait_until(&args.join(" "), LIMIT, || Ok(kubectl.output(args)?.status.success().then_some(()))).unwrap();
}

#[test]
fn it_is_ready_and_of_the_pinned_version() {
    let version = ControlPlane::shared().kubectl().json(["version"]).unwrap();
    let pins = include_str!("../../tools/kubernetes/go.mod");
    for side in ["clientVersion", "serverVersion"] {
        let version = version[side]["gitVersion"].as_str().unwrap();
        assert!(pins.contains(&format!("k8s.io/kubernetes {version}")), "{side} is {version}");
    }
}

#[test]
fn a_stranger_is_known_by_name_and_forbidden_everything() {
    let cluster = ControlPlane::shared();
    let stranger = cluster.kubectl_as(cluster.person("mallory", &["strangers"]).unwrap());
    let error = stranger.run(["get", "secrets", "--namespace", "default"]).unwrap_err().to_string();
    assert!(error.contains("Forbidden") && error.contains("\"mallory\""), "{error}");
    let error = stranger.run(["get", "namespaces"]).unwrap_err().to_string();
    assert!(error.contains("Forbidden"), "{error}");
}

#[test]
fn a_person_may_do_what_their_group_was_given() {
    let cluster = ControlPlane::shared();
    let project = cluster.project("group").unwrap();
    let namespace = ["--namespace", project.namespace()];
    let admin = cluster.kubectl();
    let role = ["create", "rolebinding", "readers", "--clusterrole", "view", "--group", "group-readers"];
    admin.run(role.into_iter().chain(namespace)).unwrap();
    let reader = cluster.kubectl_as(cluster.person("rita", &["group-readers"]).unwrap());
    wait_for(&reader, &["get", "configmaps", namespace[0], namespace[1]]);
    let create = ["create", "configmap", "c"];
    let error = reader.run(create.into_iter().chain(namespace)).unwrap_err().to_string();
    assert!(error.contains("forbidden"), "{error}");
}

#[test]
fn a_service_account_uses_its_token() {
    let cluster = ControlPlane::shared();
    let project = cluster.project("tokens").unwrap();
    let admin = cluster.kubectl();
    admin.run(["create", "serviceaccount", "robot", "--namespace", project.namespace()]).unwrap();
    let robot = cluster.kubectl_as(cluster.service_account_kubeconfig(project.namespace(), "robot").unwrap());
    let who = robot.json(["auth", "whoami"]).unwrap();
    let expected = format!("system:serviceaccount:{}:robot", project.namespace());
    assert_eq!(who["status"]["userInfo"]["username"], expected.as_str());
}

#[test]
fn nobody_is_served_without_credentials_or_by_an_unknown_authority() {
    let cluster = ControlPlane::shared();
    let nobody = cluster.dir().join("kubeconfig/nobody");
    let ca = cluster.dir().join("pki/ca.crt");
    // The API server does not look at passwords: this is how to be anonymous without kubectl asking who one is.
    let password = json!({ "username": "u", "password": "p" });
    let known = json!({ "server": cluster.server_url(), "certificate-authority": ca });
    write_kubeconfig(&nobody, &known, &password);
    let error = cluster.kubectl_as(&nobody).run(["get", "--raw", "/readyz"]).unwrap_err().to_string();
    assert!(error.contains("Unauthorized") || error.contains("must be logged in"), "{error}");

    write_kubeconfig(&nobody, &json!({ "server": cluster.server_url() }), &password);
    let error = cluster.kubectl_as(&nobody).run(["get", "--raw", "/readyz"]).unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

fn write_kubeconfig(path: &Path, cluster: &Value, user: &Value) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": cluster }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        "users": [{ "name": "u", "user": user }],
    });
    std::fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_deleted_namespace_goes_with_all_that_is_in_it() {
    let cluster = ControlPlane::shared();
    let project = cluster.project("doomed").unwrap();
    let kubectl = cluster.kubectl();
    kubectl.run(["create", "configmap", "c", "--namespace", project.namespace()]).unwrap();
    let timeout = format!("--timeout={}s", LIMIT.as_secs());
    kubectl.run(["delete", "namespace", project.namespace(), "--wait", &timeout]).unwrap();
    let error = kubectl.run(["get", "namespace", project.namespace()]).unwrap_err().to_string();
    assert!(error.contains("NotFound"), "{error}");
}

#[test]
fn what_is_owned_goes_with_its_owner() {
    let cluster = ControlPlane::shared();
    let project = cluster.project("owners").unwrap();
    let kubectl = cluster.kubectl();
    let namespace = ["--namespace", project.namespace()];
    kubectl.run(["create", "configmap", "owner"].into_iter().chain(namespace)).unwrap();
    let owner = kubectl.json(["get", "configmap", "owner"].into_iter().chain(namespace)).unwrap();
    let reference =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"] });
    let child = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "child", "namespace": project.namespace(), "ownerReferences": [reference] },
    });
    kubectl.create(&child.to_string()).unwrap();
    kubectl.run(["delete", "configmap", "owner"].into_iter().chain(namespace)).unwrap();
    let get = ["get", "configmap", "child", "--ignore-not-found", namespace[0], namespace[1]];
    wait_until("the child's end", LIMIT, || Ok(kubectl.run(get)?.is_empty().then_some(()))).unwrap();
}

#[test]
fn pod_security_refuses_a_privileged_pod() {
    let cluster = ControlPlane::shared();
    let project = cluster.project("secure").unwrap();
    let kubectl = cluster.kubectl();
    kubectl.run(["label", "namespace", project.namespace(), "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
    wait_for(&kubectl, &["get", "serviceaccount", "default", "--namespace", project.namespace()]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "pod", "namespace": project.namespace() },
        "spec": { "containers": [{ "name": "c", "image": "i", "securityContext": { "privileged": true } }] },
    });
    let error = kubectl.create(&pod.to_string()).unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity \"restricted"), "{error}");
}

#[test]
fn a_resource_quota_counts() {
    let cluster = ControlPlane::shared();
    let project = cluster.project("quota").unwrap();
    let kubectl = cluster.kubectl();
    let namespace = ["--namespace", project.namespace()];
    kubectl.run(["create", "quota", "one", "--hard", "secrets=0"].into_iter().chain(namespace)).unwrap();
    let used = ["get", "resourcequota", "one", "--output", "jsonpath={.status.used.secrets}"];
    wait_until("the quota's first count", LIMIT, || {
        let used = kubectl.run(used.into_iter().chain(namespace))?;
        Ok((used == "0").then_some(()))
    })
    .unwrap();
    let error = kubectl.run(["create", "secret", "generic", "s"].into_iter().chain(namespace)).unwrap_err().to_string();
    assert!(error.contains("exceeded quota"), "{error}");
}

#[test]
fn both_kinds_of_admission_policy_are_served_as_v1() {
    let kubectl = ControlPlane::shared().kubectl();
    let list = kubectl.run(["api-resources", "--api-group", "admissionregistration.k8s.io", "--no-headers"]).unwrap();
    for kind in ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"] {
        let served = |line: &str| line.contains("admissionregistration.k8s.io/v1 ") && line.ends_with(kind);
        assert!(list.lines().any(served), "{kind} is not in:\n{list}");
    }
}

#[test]
fn every_request_is_in_the_audit_log_with_its_user_and_without_its_body() {
    let cluster = ControlPlane::shared();
    let project = cluster.project("audited").unwrap();
    let secret = ["create", "secret", "generic", "s", "--from-literal=key=canary", "--namespace", project.namespace()];
    cluster.kubectl().run(secret).unwrap();
    let log = wait_until("the entry", LIMIT, || {
        let log = std::fs::read_to_string(cluster.audit_log()).unwrap();
        Ok(log.contains(&format!("/namespaces/{}/secrets", project.namespace())).then_some(log))
    })
    .unwrap();
    assert!(log.contains(r#""username":"admin""#));
    assert!(!log.contains("canary") && !log.contains("Y2FuYXJ5"), "the value is there, as it is or in base64");
    assert!(!log.contains(r#""requestObject""#));
}

#[test]
fn projects_of_the_same_id_have_namespaces_of_their_own() {
    let cluster = ControlPlane::shared();
    let (one, other) = (cluster.project("same").unwrap(), cluster.project("same").unwrap());
    assert_ne!(one.namespace(), other.namespace());
    let selector = ["get", "namespaces", "--selector", "platform.puraify.app/project-id=same"];
    let found = cluster.kubectl().json(selector).unwrap();
    assert_eq!(found["items"].as_array().unwrap().len(), 2);
}
