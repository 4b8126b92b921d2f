//! Kill -9 of the operator at every single write: the next start ends in the same state, and writes only what the first
//! one had not.

use std::collections::BTreeMap;

use environment_manager::api::PromotionPhase;
use serde_json::{Value, json};

use crate::support::{Cluster, Environment, Operator, PATIENT, Project, Proxy, child_content};

/// More than any environment needs.
const MANY: usize = 1000;

#[test]
fn a_creation_that_is_killed_at_any_write_is_completed_without_writing_anything_twice() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    project.version("v1.4.3");
    let proxy = Proxy::start(&cluster, project.namespace());
    let mut operator = start(&cluster, &proxy);
    project.environment("dev").class("Development").starting_with("v1.4.3").variable("A", "1").flag("F", true).ready();

    proxy.let_through(MANY);
    let undisturbed = clone(&project, "undisturbed");
    undisturbed.wait_ready();
    let expected = picture(&project, &undisturbed);
    let writes = counted(&proxy, &project, "undisturbed");
    let number = writes.values().sum();
    assert!(number > 10, "{writes:?}");

    for killed_at in 0..=number {
        let name = format!("e{killed_at}");
        proxy.let_through(killed_at);
        let environment = clone(&project, &name);
        proxy.wait_until_holding();
        assert_eq!(proxy.journal().len(), killed_at);
        operator.kill(&cluster);
        proxy.let_all_through();
        operator = start(&cluster, &proxy);
        environment.wait_ready();
        let history = environment.history();
        assert_eq!(history.len(), 1, "killed at write {killed_at}");
        environment.verify_history().unwrap();
        assert_eq!(picture(&project, &environment), expected, "killed at write {killed_at}");
        assert_eq!(counted(&proxy, &project, &name), writes, "killed at write {killed_at}");
    }
    println!("killed at each of {number} writes: {writes:?}");
}

#[test]
fn a_deletion_that_is_killed_at_any_write_is_completed_to_the_last_trace() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let proxy = Proxy::start(&cluster, project.namespace());
    let mut operator = start(&cluster, &proxy);
    // Children, the namespace, the history, the finalizer, and a status between: fewer than these.
    for killed_at in 0..9 {
        let name = format!("e{killed_at}");
        let environment = project.environment(&name).ready();
        proxy.let_through(killed_at);
        environment.delete();
        proxy.wait_until_holding_or(|| environment.get().is_none());
        operator.kill(&cluster);
        proxy.let_all_through();
        operator = start(&cluster, &proxy);
        environment.wait_gone();
        assert_eq!(environment.namespace_object().get(), None, "killed at write {killed_at}");
        assert_eq!(environment.history(), vec![], "killed at write {killed_at}");
    }
}

#[test]
fn a_change_of_the_configuration_that_is_killed_at_any_write_is_one_revision() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let proxy = Proxy::start(&cluster, project.namespace());
    let mut operator = start(&cluster, &proxy);
    let dev = project.environment("dev").variable("A", "0").ready();
    // The variables, the revision, the pointer, the status, and what is cleared away.
    for killed_at in 0..5 {
        let round = killed_at + 1;
        proxy.let_through(killed_at);
        dev.edit(&json!({"config": {"variables": [{"name": "A", "value": round.to_string()}]}}));
        proxy.wait_until_holding_or(|| dev.live()["status"]["observedGeneration"] == round + 1);
        operator.kill(&cluster);
        proxy.let_all_through();
        operator = start(&cluster, &proxy);
        dev.wait_for("the change", |object| {
            object["status"]["release"]["revision"] == round + 1 && object["status"]["observedGeneration"] == round + 1
        });
        assert_eq!(dev.variables(), json!({"A": round.to_string()}));
        assert_eq!(dev.history().len(), round + 1);
    }
    dev.verify_history().unwrap();
}

#[test]
fn a_promotion_that_is_killed_at_any_write_moves_once() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let proxy = Proxy::start(&cluster, project.namespace());
    let mut operator = start(&cluster, &proxy);
    project.version("v1.0.0");
    let dev = project.environment("dev").starting_with("v1.0.0").ready();
    dev.deployed();
    // The version's finalizer and status, the plan shown, the revision, the pointer, the statuses: fewer than these.
    for killed_at in 0..9 {
        let (name, version) = (format!("p{killed_at}"), format!("v1.{}.0", killed_at + 1));
        let revision = u64::try_from(killed_at).unwrap() + 2;
        proxy.let_through(killed_at);
        project.version(&version);
        let promotion = project.promote(&name, &json!({"target": "dev", "source": {"version": version}}));
        proxy.wait_until_holding_or(|| promotion.get().is_some_and(|live| live["status"]["phase"] == "ReadyForDeploy"));
        operator.kill(&cluster);
        proxy.let_all_through();
        operator = start(&cluster, &proxy);
        let status = promotion.wait_phase(PromotionPhase::ReadyForDeploy);
        assert_eq!(u64::from(status.revision.unwrap().get()), revision, "killed at write {killed_at}");
        assert_eq!((dev.version(), dev.history().len()), (version, killed_at + 2));
        dev.report(revision, "Succeeded", "2026-01-02T00:00:00Z");
        promotion.wait_phase(PromotionPhase::Succeeded);
    }
    dev.verify_history().unwrap();
}

#[test]
fn a_namespace_whose_label_was_taken_off_while_nobody_looked_goes_with_its_environment() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let operator = Operator::start(&cluster);
    let dev = project.environment("dev").ready();
    operator.kill(&cluster);
    project.unguard(&dev.namespace());
    let label = "platform.puraify.app/environment-uid-";
    cluster.kubectl().run(["label", "namespace", &dev.namespace(), label]).unwrap();
    dev.delete();
    let _operator = Operator::start(&cluster);
    dev.wait_gone();
    assert_eq!(dev.namespace_object().get(), None);
}

fn clone<'project>(project: &'project Project, name: &str) -> Environment<'project> {
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    project.environment(name).cloned_from("dev").variable("B", "2").with("isolation", access).create()
}

/// Everything that an environment consists of, without what must differ between two of them.
fn picture(project: &Project, environment: &Environment<'_>) -> Value {
    let kinds = ["configmap", "rolebinding", "serviceaccount", "resourcequota", "limitrange", "networkpolicy"];
    let children = kinds.into_iter().flat_map(|kind| environment.children(kind));
    let mut objects: Vec<Value> = children.map(|child| child_content(&child)).collect();
    objects.push(child_content(&environment.namespace_object().live()));
    for object in &mut objects {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    let mut status = environment.live()["status"].take();
    status["release"].as_object_mut().unwrap().remove("since");
    status.as_object_mut().unwrap().remove("conditions");
    let text = json!({"objects": objects, "status": status}).to_string();
    let text = text.replace(&environment.uid(), "<uid>").replace(&environment.namespace(), "<namespace>");
    let text = text.replace(&format!("\"{}\"", environment.name()), "\"<name>\"");
    let text =
        text.replace(&format!("/{}\"", environment.name()), "/<name>\"").replace(project.namespace(), "<project>");
    serde_json::from_str(&text).unwrap()
}

fn start(cluster: &Cluster, proxy: &Proxy) -> Operator {
    let mut operator = Operator::spawn_with(cluster, proxy.kubeconfig(), &[PATIENT]);
    operator.wait_ready();
    operator
}

/// How often each object was written, without the names that must differ. The status is said again by an operator
/// that finds more to do than its predecessor said: it is left out.
fn counted(proxy: &Proxy, project: &Project, name: &str) -> BTreeMap<String, usize> {
    let namespace = format!("{}--{name}", project.namespace());
    let mut counts = BTreeMap::new();
    for write in proxy.journal().iter().filter(|write| !write.ends_with("/status")) {
        let write = write.replace(&namespace, "<namespace>").replace(&format!("/{name}"), "/<name>");
        *counts.entry(write).or_default() += 1;
    }
    counts
}
