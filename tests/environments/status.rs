//! The status: at every moment it says what is, to people and to tools; and nothing is written when nothing changed.

use std::time::{Duration, Instant};

use devcluster::wait_until;
use serde_json::{Value, json};

use crate::support::{
    Cluster, Environment, Operator, Project, condition, eventually,
    kstatus::{self, Kstatus},
};

fn kstatuses(environment: &Environment<'_>) -> Vec<Kstatus> {
    let mut all: Vec<_> = environment.states().iter().map(|state| kstatus::of(&state.object)).collect();
    all.dedup();
    all
}

fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[test]
fn kstatus_holds_at_every_moment_of_a_life() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("A", "1").ready();
    assert_eq!(kstatuses(&dev), [Kstatus::InProgress, Kstatus::Current]);
    dev.edit_and_wait(
        &json!({"config": {"variables": [{"name": "A", "value": "2"}]}, "isolation": {"quota": {"pods": 3}}}),
    );
    assert_eq!(kstatuses(&dev)[2..], [Kstatus::InProgress, Kstatus::Current]);
    dev.delete();
    dev.wait_gone();
    assert_eq!(kstatuses(&dev)[4..], [Kstatus::Terminating]);
}

#[test]
fn an_environment_is_never_current_before_all_that_belongs_to_it_exists() {
    let project = Project::new("shop");
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    let dev = project.environment("dev").variable("A", "1").with("isolation", access).ready();
    let states = dev.states();
    let current = states.iter().find(|state| kstatus::of(&state.object) == Kstatus::Current).unwrap();
    let moment = version_of(&current.object);
    // Nobody changes these after they are made; a quota is counted, and so not among them.
    for kind in ["serviceaccount", "limitrange", "networkpolicy", "rolebinding", "configmap"] {
        let children = dev.children(kind);
        assert!(!children.is_empty(), "{kind}");
        for child in children {
            assert!(version_of(&child) < moment, "{kind} {} came after Ready", child["metadata"]["name"]);
        }
    }
    let writes = project.operator_writes();
    let ready = writes.iter().position(|write| write.resource == "platformenvironments/status").unwrap();
    let quota = writes.iter().position(|write| write.resource == "resourcequotas").unwrap();
    assert!(quota < ready, "{writes:#?}");
}

#[test]
fn an_edit_is_current_only_when_it_has_been_carried_out() {
    let project = Project::new("shop");
    let dev = project.environment("dev").ready();
    let edited = dev.edit(&json!({"isolation": {"quota": {"pods": 3}}}));
    dev.wait_for("the edit to be done", |object| {
        object["metadata"]["generation"] == edited["metadata"]["generation"] && kstatus::of(object) == Kstatus::Current
    });
    assert_eq!(dev.child("resourcequota", "environment").live()["spec"]["hard"]["pods"], "3");
}

#[test]
fn a_new_cluster_without_an_operator_has_no_ready_environment() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").create();
    let unseen = dev.live();
    assert_eq!(kstatus::of(&unseen), Kstatus::InProgress);
    assert_eq!(condition(&unseen, "Ready").unwrap()["status"], "Unknown");
    assert!(condition(&unseen, "Ready").unwrap()["message"].as_str().unwrap().contains("No operator"));
    let version = cluster.get("pver", project.namespace(), "v1.4.3").unwrap();
    assert_eq!(condition(&version, "Ready").unwrap()["status"], "Unknown");
    let table = project.kubectl(&["get", "penv"]);
    assert!(table.contains("Unknown"), "{table}");
    project.try_kubectl(&["wait", "--for=condition=Ready", "penv/dev", "--timeout=1s"]).unwrap_err();

    let operator = Operator::start(&cluster);
    dev.wait_ready();
    operator.kill(&cluster);
    dev.edit(&json!({"config": {"variables": [{"name": "A", "value": "1"}]}}));
    assert_eq!(kstatus::of(&dev.live()), Kstatus::InProgress, "an edit that no operator has seen is not done");
    let _operator = Operator::start(&cluster);
    dev.wait_ready();
    assert_eq!(dev.variables(), json!({"A": "1"}));
}

#[test]
fn the_generation_is_observed_everywhere() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").ready();
    for pods in 1..4 {
        let object = dev.edit_and_wait(&json!({"isolation": {"quota": {"pods": pods}}}));
        let generation = &object["metadata"]["generation"];
        assert_eq!(object["status"]["observedGeneration"], *generation);
        for condition in object["status"]["conditions"].as_array().unwrap() {
            assert_eq!(condition["observedGeneration"], *generation, "{condition}");
        }
    }
    let version = project.cluster().get("pver", project.namespace(), "v1.4.3").unwrap();
    assert_eq!(version["status"]["observedGeneration"], version["metadata"]["generation"]);
    assert_eq!(kstatus::of(&version), Kstatus::Current);
}

#[test]
fn a_transition_time_moves_only_with_its_condition() {
    let project = Project::new("shop");
    let dev = project.environment("dev").ready();
    let at = |object: &Value| condition(object, "Ready").unwrap()["lastTransitionTime"].clone();
    let first = at(&dev.live());
    wait_until("the next second", Duration::from_secs(10), || {
        Ok((jiff::Timestamp::now().as_second()
            > first.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second() + 1)
            .then_some(()))
    })
    .unwrap();
    let edited = dev.edit_and_wait(&json!({"isolation": {"quota": {"pods": 3}}}));
    assert_eq!(at(&edited), first);
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    project.environment("dev").starting_with("v1.4.3").variable("A", "1").ready();
    project.environment("staging").cloned_from("dev").ready();
    let waiting = project.environment("waiting").cloned_from("nobody").create();
    waiting.wait_condition("Reconciling", "BaseNotFound");
    let stalled = project.environment("stalled").cloned_from("stalled").create();
    stalled.wait_condition("Stalled", "BaseCycle");
    settled(&project);

    let before = project.operator_writes();
    // Other projects are busy meanwhile, and here things happen that concern nobody.
    let other = Project::new("other");
    other.environment("dev").ready();
    project.kubectl(&["annotate", "penv", "dev", "example.com/note=hello"]);
    project.kubectl(&["label", "namespace", &project.existing("dev").namespace(), "example.com/note=hello"]);
    project.kubectl(&[
        "annotate",
        "configmap",
        "release",
        "example.com/n=1",
        "--namespace",
        &project.existing("dev").namespace(),
    ]);
    let start = Instant::now();
    wait_until("the end of a quiet time", Duration::from_mins(1), || {
        Ok((start.elapsed() > Duration::from_secs(6)).then_some(()))
    })
    .unwrap();
    let after = project.operator_writes();
    assert_eq!(after[before.len()..], [], "written in a quiet time");
}

#[test]
fn a_report_from_a_clock_that_is_ahead_is_written_down_once() {
    let project = Project::new("shop");
    project.version("v1.0.0");
    let dev = project.environment("dev").starting_with("v1.0.0").ready();
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    dev.report(1, "Succeeded", &ahead.to_string());
    dev.wait_for("the report to be written down", |object| object["status"]["release"]["state"] == "Deployed");
    settled(&project);
    assert_eq!(dev.live()["status"]["phase"], "Active");
    let writes = project.operator_writes();
    let written: Vec<_> = writes.iter().filter(|write| write.resource == "environmentrevisions/status").collect();
    assert_eq!(written.len(), 1, "{written:#?}");
}

/// Waits until the operator wrote nothing for a moment.
fn settled(project: &Project) {
    let mut last = (Instant::now(), project.operator_writes().len());
    eventually("the operator to have nothing left to do", || {
        let count = project.operator_writes().len();
        if count != last.1 {
            last = (Instant::now(), count);
        }
        (last.0.elapsed() > Duration::from_secs(2)).then_some(())
    });
}

#[test]
fn a_restart_writes_nothing_and_reads_no_child() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    project.version("v1.4.3");
    let operator = Operator::start(&cluster);
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    let dev = project
        .environment("dev")
        .class("Development")
        .starting_with("v1.4.3")
        .variable("A", "1")
        .with("isolation", access)
        .ready();
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "2"}]}}));
    let clones: Vec<_> = (0..5)
        .map(|number| project.environment(&format!("e{number}")).cloned_from("dev").flag("F", true).create())
        .collect();
    for clone in &clones {
        clone.wait_ready();
    }
    settled(&project);
    assert!(operator.terminate().success());

    let before = cluster.operator_writes().len();
    let operator = Operator::start(&cluster);
    // It has looked at all of them when it has done this.
    dev.edit_and_wait(&json!({"isolation": {"quota": {"pods": 3}}}));
    settled(&project);
    let writes = cluster.operator_writes().split_off(before);
    let foreign: Vec<_> =
        writes.iter().filter(|write| write.namespace != dev.namespace() && write.name != "dev").collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
    let resources: Vec<&str> = writes.iter().map(|write| write.resource.as_str()).collect();
    assert_eq!(resources, ["resourcequotas", "platformenvironments/status"], "{writes:#?}");
    drop(operator);
}

#[test]
fn what_is_said_is_events_that_a_person_can_read() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").variable("A", "1").ready();
    dev.edit_and_wait(&json!({"config": {"variables": null, "flags": [{"name": "BETA_FORM", "enabled": true}]}}));
    dev.wait_event("Created", &["Revision 1: v1.4.3; variables added: A"]);
    dev.wait_event("ConfigChanged", &["Revision 2: v1.4.3; variables removed: A; flags added: BETA_FORM"]);
    let described = project.kubectl(&["describe", "penv", "dev"]);
    assert!(described.contains("ConfigChanged"), "{described}");
}
