//! A new environment: what it consists of, and what people are told.

use serde_json::{Value, json};

use crate::support::Project;

#[test]
fn a_new_environment_becomes_ready_with_a_namespace_of_its_own() {
    let project = Project::new("shop");
    let dev = project.environment("dev").class("Development").ready();
    let live = dev.live();
    assert_eq!(live["status"]["namespace"], dev.namespace().as_str());
    assert_eq!(live["status"]["phase"], "Active");
    for condition in ["Ready", "NamespaceReady", "ConfigReady", "Isolated"] {
        assert_eq!(dev.condition(condition).unwrap()["status"], "True", "{condition}");
    }
    let namespace = dev.namespace_object().live();
    assert_eq!(namespace["metadata"]["labels"]["platform.puraify.app/environment-uid"], dev.uid().as_str());
    assert_eq!(namespace["metadata"]["labels"]["platform.puraify.app/project"], project.namespace());
}

#[test]
fn the_namespace_enforces_the_pod_security_standard_of_its_class() {
    let project = Project::new("shop");
    let level = |namespace: Value, mode: &str| {
        namespace["metadata"]["labels"][format!("pod-security.kubernetes.io/{mode}")].clone()
    };
    let of = [("dev", "Development", "baseline"), ("stg", "Staging", "restricted"), ("prd", "Production", "restricted")];
    for (name, class, standard) in of {
        let environment = project.environment(name).class(class).ready();
        for mode in ["enforce", "audit", "warn"] {
            assert_eq!(level(environment.namespace_object().live(), mode), standard, "{class} {mode}");
        }
    }
}

#[test]
fn kubectl_wait_knows_when_an_environment_is_ready() {
    let project = Project::new("shop");
    project.environment("dev").create();
    project.kubectl(&["wait", "--for=condition=Ready", "penv/dev", "--timeout=45s"]);
    assert_eq!(project.existing("dev").condition("Ready").unwrap()["reason"], json!("AsIntended"));
}
