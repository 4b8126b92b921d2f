//! The process: probes, metrics, help, and an orderly end.

use std::{collections::BTreeMap, path::Path, process::Command};

use devcluster::Supervised;
use serde_json::json;

use crate::support::{Cluster, Operator, Project, eventually};

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The value of a metric with these labels.
fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn probes_say_that_all_is_well() {
    let operator = Cluster::shared_operator();
    for path in ["/healthz", "/readyz"] {
        let answer = operator.get(path).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && body(&answer) == "ok\n", "{path}: {answer}");
    }
    assert!(operator.get("/nothing").unwrap().starts_with("HTTP/1.1 404"));
}

#[test]
fn metrics_count_environments_reconciles_requests_and_the_queue() {
    let project = Project::new("shop");
    project.environment("dev").class("Development").ready();
    project
        .environment("waiting")
        .class("Production")
        .cloned_from("nobody")
        .create()
        .wait_condition("Reconciling", "BaseNotFound");
    let answer = eventually("both environments to be counted", || {
        let answer = Cluster::shared_operator().get("/metrics").unwrap();
        let count = |class: &str, phase: &str| {
            let labels = [&*format!("class=\"{class}\""), &*format!("phase=\"{phase}\"")];
            metric(body(&answer), "environment_manager_environments", &labels)
        };
        let both = count("Development", "Active") >= Some(1.0) && count("Production", "Pending") >= Some(1.0);
        both.then_some(answer)
    });
    let text = body(&answer);
    assert!(answer.contains("application/openmetrics-text"), "{answer}");
    assert!(text.ends_with("# EOF\n"));
    let above_zero = |name: &str, labels: &[&str]| {
        let value = metric(text, name, labels);
        assert!(value.is_some_and(|value| value > 0.0), "{name}{labels:?} is {value:?} in:\n{text}");
    };
    let kind = "kind=\"PlatformEnvironment\"";
    above_zero("environment_manager_reconciles_total", &[kind, "outcome=\"success\""]);
    above_zero("environment_manager_reconcile_duration_seconds_count", &[kind]);
    let requests = "environment_manager_kubernetes_requests_total";
    above_zero(requests, &["verb=\"apply\"", "resource=\"configmaps\"", "code=\"201\""]);
    above_zero(requests, &["verb=\"create\"", "resource=\"environmentrevisions\"", "code=\"201\""]);
    above_zero(requests, &["verb=\"apply\"", "resource=\"platformenvironments/status\"", "code=\"200\""]);
    above_zero("environment_manager_cached_objects", &["resource=\"namespaces\""]);
    assert!(metric(text, "environment_manager_queue_ready", &[kind]).is_some(), "{text}");
    assert!(!text.contains(project.namespace()), "a metric names an object: there would be ever more of them");
    // But for what it asks for to see whether it is refused: it creates no ConfigMap, it applies them.
    let probes = ["configmaps", "promotions"].map(|kind| format!("verb=\"create\",resource=\"{kind}\""));
    let is_probe = |line: &str| probes.iter().any(|probe| line.contains(probe));
    let refused: Vec<&str> = text.lines().filter(|line| line.contains("code=\"403\"") && !is_probe(line)).collect();
    assert!(refused.is_empty(), "the operator lacks a right: {refused:#?}");
}

#[test]
fn an_operator_without_a_cluster_is_alive_and_not_ready_and_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (kubeconfig, log) = (directory.path().join("kubeconfig"), directory.path().join("log"));
    let nowhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    });
    std::fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    let operator = Operator::run(&kubeconfig, &log, &["run", "--log-format", "json"]);
    let alive = eventually("the operator's server", || operator.get("/healthz"));
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    let not_ready = operator.get("/readyz").unwrap();
    assert!(not_ready.starts_with("HTTP/1.1 503"), "{not_ready}");
    assert!(body(&not_ready).contains("platformenvironments"), "{not_ready}");
    assert_eq!(operator.terminate().code(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    }
}

#[test]
fn sigterm_ends_a_busy_operator_with_success_and_loses_nothing() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let operator = Operator::start(&cluster);
    let names: Vec<String> = (0..6).map(|number| format!("e{number}")).collect();
    let manifests: Vec<String> = names.iter().map(|name| project.environment(name).manifest().to_string()).collect();
    cluster.kubectl().create(&manifests.join("\n")).unwrap();
    assert_eq!(operator.terminate().code(), Some(0));
    let _operator = Operator::start(&cluster);
    for name in &names {
        project.existing(name).wait_ready();
        assert_eq!(project.existing(name).history().len(), 1);
    }
}

#[test]
fn a_wrong_flag_ends_with_a_usage_error_and_a_taken_address_with_a_failure() {
    let output = Operator::command(&["run", "--gateway", "nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("NAME=NAMESPACE"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Operator::command(&["run", "--listen", &address]);
    let output = command.arg("--kubeconfig").arg(Cluster::shared().operator_kubeconfig()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains(&format!("cannot listen on {address}")));
}

#[test]
fn help_explains_each_flag_and_names_its_variable() {
    let help = Operator::prints(&["run", "--help"]);
    let mut flags = BTreeMap::new();
    let mut lines = help.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(flag) = line.trim_start().strip_prefix("--").and_then(|rest| rest.split([' ', '=']).next()) else {
            continue;
        };
        let mut text = line.to_owned();
        while let Some(next) = lines.next_if(|next| !next.trim_start().starts_with("--")) {
            text.push_str(next);
        }
        flags.insert(flag.to_owned(), text);
    }
    assert!(flags.len() >= 10, "{flags:#?}");
    for (flag, text) in flags {
        let variable = format!("ENVIRONMENT_MANAGER_{}", flag.replace('-', "_").to_uppercase());
        assert!(text.contains(&format!("[env: {variable}=")), "--{flag}: {text}");
    }
    for command in [&["--help"][..], &["check", "--help"], &["crds", "--help"]] {
        assert!(!Operator::prints(command).is_empty());
    }
}

#[test]
fn a_variable_does_what_its_flag_does() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut command = Operator::command(&["run"]);
    command.env("ENVIRONMENT_MANAGER_LISTEN", "127.0.0.1:0").env("ENVIRONMENT_MANAGER_LOG_FORMAT", "json");
    command.env("ENVIRONMENT_MANAGER_KUBECONFIG", Cluster::shared().operator_kubeconfig());
    run_until_it_logs(&command, &log, "127.0.0.1:0");
}

fn run_until_it_logs(command: &Command, log: &Path, words: &str) {
    let mut process = Supervised::spawn(command, log).unwrap();
    eventually("its first words", || {
        std::fs::read_to_string(log)
            .unwrap()
            .lines()
            .any(|line| line.starts_with('{') && line.contains(words))
            .then_some(())
    });
    process.terminate();
    assert!(process.wait().unwrap().success());
}
