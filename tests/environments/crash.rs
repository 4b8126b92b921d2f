//! Killing the operator between any two writes changes nothing about where things end up.

use std::{
    thread,
    time::{Duration, Instant},
};

use environment_manager::domain::revision::chain;
use serde_json::{Value, json};

use crate::support::{Cluster, Environment, Journal, Operator, Project, Request, child_content};

/// The writes of a creation are fewer than this.
const KILLS: usize = 18;

#[test]
fn a_creation_ends_the_same_wherever_the_operator_was_killed() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    project.version("v1.4.3");
    let operator = Operator::start(&cluster);
    project.environment("dev").class("Development").starting_with("v1.4.3").variable("A", "1").flag("F", true).ready();
    let undisturbed = clone(&project, "undisturbed");
    undisturbed.wait_ready();
    let expected = picture(&project, &undisturbed);

    let mut running = operator;
    let mut points = vec![];
    for kill_after in 0..KILLS {
        let name = format!("e{kill_after}");
        let environment = project.existing(&name);
        let mut writes = Writes::from_now(&cluster, &environment);
        clone(&project, &name);
        writes.wait_for(kill_after);
        running.kill();
        points.push(writes.count());

        running = Operator::start(&cluster);
        environment.wait_ready();
        let history = environment.history();
        assert_eq!(history.len(), 1, "killed after {points:?} writes");
        chain::verify(&history).unwrap();
        assert_eq!(picture(&project, &environment), expected, "killed after {points:?} writes");
    }
    let namespaces = cluster.kubectl().run(["get", "namespaces", "--output", "name"]).unwrap();
    let ours = namespaces.lines().filter(|line| line.contains(&format!("/{}--", project.namespace()))).count();
    assert_eq!(ours, KILLS + 2, "one namespace for each environment");
    println!("killed after this many writes of a creation: {points:?}");
}

#[test]
fn a_deletion_ends_the_same_wherever_the_operator_was_killed() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let names: Vec<String> = (0..6).map(|number| format!("e{number}")).collect();
    let first = Operator::start(&cluster);
    for name in &names {
        project.environment(name).create();
    }
    for name in &names {
        project.existing(name).wait_ready();
    }
    let mut operator = Some(first);
    for (kill_after, name) in names.iter().enumerate() {
        let running = operator.take().unwrap_or_else(|| Operator::start(&cluster));
        let environment = project.existing(name);
        let mut writes = Writes::from_now(&cluster, &environment);
        environment.delete();
        writes.wait_for(kill_after);
        running.kill();
    }
    let _operator = Operator::start(&cluster);
    for name in &names {
        let environment = project.existing(name);
        environment.wait_gone();
        assert_eq!(environment.namespace_object().get(), None);
        assert_eq!(environment.history(), vec![]);
    }
}

#[test]
fn a_change_of_the_configuration_ends_the_same_wherever_the_operator_was_killed() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let mut running = Operator::start(&cluster);
    let dev = project.environment("dev").variable("A", "0").ready();
    for round in 1..=6 {
        let mut writes = Writes::from_now(&cluster, &dev);
        dev.edit(&json!({"config": {"variables": [{"name": "A", "value": round.to_string()}]}}));
        writes.wait_for(round - 1);
        running.kill();
        running = Operator::start(&cluster);
        dev.wait_for("the change", |object| {
            object["status"]["release"]["revision"] == round + 1 && object["status"]["observedGeneration"] == round + 1
        });
        assert_eq!(dev.variables(), json!({"A": round.to_string()}));
        assert_eq!(dev.history().len(), round + 1);
    }
    drop(running);
    chain::verify(&dev.history()).unwrap();
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

/// The operator's writes about one environment.
struct Writes<'environment> {
    journal: Journal,
    environment: &'environment Environment<'environment>,
}

impl<'environment> Writes<'environment> {
    fn from_now(cluster: &Cluster, environment: &'environment Environment<'environment>) -> Self {
        Self { journal: cluster.journal_from_now(), environment }
    }

    fn count(&mut self) -> usize {
        let (name, namespace) = (self.environment.name(), self.environment.namespace());
        let about = |write: &&Request| {
            let revision = write.resource == "environmentrevisions" && write.name.starts_with(name);
            write.namespace == namespace || write.name == namespace || write.name == name || revision
        };
        self.journal.writes().iter().filter(about).count()
    }

    /// Waits until there are that many, as closely as can be, or until no more come.
    fn wait_for(&mut self, writes: usize) {
        let (mut last, mut since) = (self.count(), Instant::now());
        while last < writes && since.elapsed() < Duration::from_secs(3) {
            thread::yield_now();
            let count = self.count();
            if count > last {
                (last, since) = (count, Instant::now());
            }
        }
    }
}
