//! Killing the operator between any two writes changes nothing about where things end up.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    thread,
    time::{Duration, Instant},
};

use environment_manager::domain::revision::chain;
use serde_json::{Value, json};

use crate::support::{Cluster, Environment, Operator, Project, child_content};

/// The writes of a creation are fewer than this.
const KILLS: usize = 18;

#[test]
fn a_creation_ends_the_same_wherever_the_operator_was_killed() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    project.version("v1.4.3");
    let operator = Operator::start(&cluster);
    project.environment("dev").class("Development").from_version("v1.4.3").variable("A", "1").flag("F", true).ready();
    let undisturbed = clone(&project, "undisturbed");
    undisturbed.wait_ready();
    let expected = picture(&project, &undisturbed);
    operator.kill();

    let mut points = vec![];
    for kill_after in 0..KILLS {
        let name = format!("e{kill_after}");
        let operator = Operator::start(&cluster);
        let mut journal = Journal::at_the_end(&cluster, &format!("{}--{name}", project.namespace()), &name);
        let environment = clone(&project, &name);
        journal.wait_for(kill_after);
        operator.kill();
        points.push(journal.seen());

        let _operator = Operator::start(&cluster);
        environment.wait_ready();
        let history = environment.history();
        assert_eq!(history.len(), 1, "killed after {points:?} writes");
        chain::verify(&history).unwrap();
        assert_eq!(picture(&project, &environment), expected, "killed after {points:?} writes");
    }
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
        let mut journal = Journal::at_the_end(&cluster, &format!("{}--{name}", project.namespace()), name);
        project.existing(name).delete();
        journal.wait_for(kill_after);
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
    let operator = Operator::start(&cluster);
    let dev = project.environment("dev").variable("A", "0").ready();
    operator.kill();
    for round in 1..=6 {
        let operator = Operator::start(&cluster);
        let mut journal = Journal::at_the_end(&cluster, &dev.namespace(), "dev");
        dev.edit(json!({"config": {"variables": [{"name": "A", "value": round.to_string()}]}}));
        journal.wait_for(round - 1);
        operator.kill();
        let _operator = Operator::start(&cluster);
        dev.wait_for("the change", |object| {
            object["status"]["release"]["revision"] == round + 1 && object["status"]["observedGeneration"] == round + 1
        });
        assert_eq!(dev.variables(), json!({"A": round.to_string()}));
        assert_eq!(dev.history().len(), round + 1);
    }
    chain::verify(&dev.history()).unwrap();
}

fn clone<'project>(project: &'project Project, name: &str) -> Environment<'project> {
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    project.environment(name).cloned_from("dev").variable("B", "2").with("isolation", access).create()
}

/// Everything that an environment consists of, without what must differ between two of them.
fn picture(project: &Project, environment: &Environment<'_>) -> Value {
    let kinds = "configmap,rolebinding,serviceaccount,resourcequota,limitrange,networkpolicy";
    let mut objects: Vec<Value> = environment.children(kinds).iter().map(child_content).collect();
    objects.push(child_content(&environment.namespace_object().live()));
    objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string()));
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

/// The audit log from a moment on, read as it grows.
struct Journal {
    file: File,
    unread: String,
    /// What a line about the environment contains.
    about: [String; 2],
    seen: usize,
}

impl Journal {
    fn at_the_end(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        let mut file = File::open(cluster.plane().audit_log()).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        let about = [format!("\"{namespace}\""), format!("\"name\":\"{name}\"")];
        Self { file, unread: String::new(), about, seen: 0 }
    }

    /// How many writes of the operator about the environment were answered.
    fn seen(&mut self) -> usize {
        self.file.read_to_string(&mut self.unread).unwrap();
        while let Some((line, rest)) = self.unread.split_once('\n') {
            let by_operator = line.contains(&format!("\"username\":\"{}\"", Operator::USER));
            let write = ["patch", "create", "delete", "deletecollection"]
                .iter()
                .any(|verb| line.contains(&format!("\"verb\":\"{verb}\"")));
            let about = self.about.iter().any(|word| line.contains(word)) && !line.contains("\"resource\":\"events\"");
            self.seen += usize::from(by_operator && write && about);
            self.unread = rest.to_owned();
        }
        self.seen
    }

    /// Waits until that many were, as closely as can be, or until no more come.
    fn wait_for(&mut self, writes: usize) {
        let (mut last, mut since) = (self.seen(), Instant::now());
        while last < writes && since.elapsed() < Duration::from_secs(3) {
            thread::yield_now();
            if self.seen() > last {
                (last, since) = (self.seen, Instant::now());
            }
        }
    }
}
