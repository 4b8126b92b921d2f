//! The end of an environment: in order, to the last trace, and never over what others still hold.

use serde_json::json;

use crate::support::{Environment, Project, Request, eventually};

/// Nothing is left of it but what is told of it.
fn is_gone_to_the_last_trace(project: &Project, environment: &Environment<'_>) {
    assert_eq!(environment.get(), None);
    assert_eq!(environment.namespace_object().get(), None);
    assert_eq!(environment.history(), vec![]);
    let label = format!("platform.puraify.app/environment={}", environment.name());
    for kind in ["erev", "configmap", "rolebinding", "serviceaccount"] {
        assert!(project.cluster().list(kind, project.namespace(), &label).is_empty(), "{kind}");
    }
}

fn at(writes: &[Request], what: impl Fn(&Request) -> bool) -> Vec<usize> {
    writes.iter().enumerate().filter(|(_, write)| what(write)).map(|(at, _)| at).collect()
}

#[test]
fn children_go_first_the_namespace_then_history_and_the_environment_last() {
    let project = Project::new("shop");
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    let staging = project.environment("staging").variable("A", "1").with("isolation", access).ready();
    let before = project.operator_writes().len();
    staging.delete();
    staging.wait_gone();
    is_gone_to_the_last_trace(&project, &staging);
    staging.wait_event("Terminating", &[]);

    let writes = project.operator_writes().split_off(before);
    let deleted = |resource: &str| at(&writes, |write| write.verb == "delete" && write.resource == resource);
    let (accounts, bindings, maps) = (deleted("serviceaccounts"), deleted("rolebindings"), deleted("configmaps"));
    assert_eq!((accounts.len(), bindings.len(), maps.len()), (1, 1, 3), "{writes:#?}");
    let [namespace] = deleted("namespaces")[..] else { panic!("{writes:#?}") };
    let children = accounts.into_iter().chain(bindings).chain(maps);
    assert!(children.max().unwrap() < namespace, "{writes:#?}");
    for stays in ["networkpolicies", "resourcequotas", "limitranges"] {
        assert!(deleted(stays).is_empty(), "{stays} protect the applications until the namespace takes them along");
    }
    let history = at(&writes, |write| write.verb == "delete" && write.resource == "environmentrevisions");
    let finalizer = at(&writes, |write| write.verb == "patch" && write.resource == "platformenvironments");
    assert!(namespace < history[0] && history[0] < *finalizer.last().unwrap(), "{writes:#?}");
}

#[test]
fn an_environment_that_is_made_again_starts_a_history_of_its_own() {
    let project = Project::new("shop");
    let first = project.environment("staging").variable("A", "1").ready();
    first.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "2"}]}}));
    let uid = first.uid();
    first.delete();
    first.wait_gone();
    let second = project.environment("staging").variable("A", "3").ready();
    let history = second.history();
    assert_eq!(history.len(), 1);
    assert_ne!(history[0].environment_uid, uid);
    assert_eq!(second.variables(), json!({"A": "3"}));
}

#[test]
fn an_environment_that_never_got_going_is_deleted_at_once() {
    let project = Project::new("shop");
    let staging = project.environment("staging").cloned_from("nobody").create();
    staging.wait_condition("Reconciling", "BaseNotFound");
    staging.delete();
    staging.wait_gone();
    is_gone_to_the_last_trace(&project, &staging);
}

#[test]
fn a_retained_namespace_stays_as_it_is_and_says_so() {
    let project = Project::new("shop");
    let production = project.environment("production").class("Production").variable("A", "1").retained().ready();
    let (release, policy) = (production.release(), production.child("networkpolicy", "default-deny").live());
    production.delete();
    production.wait_gone();
    assert_eq!(production.history(), vec![]);
    let metadata = production.namespace_object().live()["metadata"].take();
    let note = metadata["annotations"]["platform.puraify.app/retained"].as_str().unwrap();
    assert!(note.contains("production"), "{note}");
    assert!(metadata["deletionTimestamp"].is_null());
    assert!(metadata["annotations"]["platform.puraify.app/intent"].is_null(), "nobody manages it any longer");
    assert_eq!(production.release(), release);
    assert_eq!(production.child("networkpolicy", "default-deny").live()["spec"], policy["spec"]);
    production.wait_event("Retained", &[&production.namespace(), "stays"]);

    let again = project.environment("production").class("Production").create();
    let message = again.wait_condition("Stalled", "NotOurs");
    assert!(message.contains(&again.namespace()), "{message}");
    assert_eq!(again.release(), release, "what was kept was touched");
}

#[test]
fn a_finalizer_of_somebody_else_in_the_namespace_is_named_and_never_stripped() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let metadata = json!({"name": "held", "namespace": staging.namespace(), "finalizers": ["example.com/backup"]});
    project.create(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}));
    staging.delete();
    let message = staging.wait_condition("Reconciling", "ForeignFinalizer");
    assert!(message.contains("example.com/backup") && message.contains("remove them by hand"), "{message}");
    assert_eq!(staging.live()["status"]["phase"], "Terminating");
    staging.wait_event("ForeignFinalizer", &["example.com/backup"]);
    let held = staging.child("configmap", "held");
    assert_eq!(held.live()["metadata"]["finalizers"], json!(["example.com/backup"]));
    assert!(!staging.history().is_empty(), "history is kept until the namespace is gone");
    held.patch_as("backup", &json!({"metadata": {"finalizers": null}}));
    staging.wait_gone();
    is_gone_to_the_last_trace(&project, &staging);
}

#[test]
fn a_finalizer_of_somebody_else_on_one_of_our_children_is_named_and_never_stripped() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let release = staging.child("configmap", "release");
    release.patch_as("backup", &json!({"metadata": {"finalizers": ["example.com/backup"]}}));
    staging.delete();
    let message = staging.wait_condition("Reconciling", "ForeignFinalizer");
    assert!(message.contains("example.com/backup"), "{message}");
    assert_eq!(release.live()["metadata"]["finalizers"], json!(["example.com/backup"]));
    release.patch_as("backup", &json!({"metadata": {"finalizers": null}}));
    staging.wait_gone();
}

#[test]
fn a_finalizer_of_somebody_else_on_the_environment_is_named_and_never_stripped() {
    let project = Project::new("shop");
    let staging = project.environment("staging").finalizer("example.com/ticket").ready();
    staging.delete();
    let message = staging.wait_condition("Reconciling", "ForeignFinalizer");
    assert!(message.contains("example.com/ticket") && message.contains("remove them by hand"), "{message}");
    assert_eq!(staging.namespace_object().get(), None, "everything that is ours is gone by then");
    assert_eq!(staging.live()["metadata"]["finalizers"], json!(["example.com/ticket"]));
    project.kubectl(&["patch", "penv", "staging", "--type=merge", "--patch", r#"{"metadata": {"finalizers": null}}"#]);
    staging.wait_gone();
    is_gone_to_the_last_trace(&project, &staging);
}

#[test]
fn one_that_was_deleted_before_it_was_ready_leaves_nothing() {
    let project = Project::new("shop");
    let names: Vec<String> = (0..5).map(|number| format!("e{number}")).collect();
    for name in &names {
        project.environment(name).create().delete();
    }
    for name in &names {
        let environment = project.existing(name);
        environment.wait_gone();
        eventually("the namespace to be gone", || environment.namespace_object().get().is_none().then_some(()));
        is_gone_to_the_last_trace(&project, &environment);
    }
}
