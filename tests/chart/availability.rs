//! Two operators as processes of their own: one leads, and when it goes the other takes over. With the default settings.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use devcluster::wait_until;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Cluster, Operator, Proxy, eventually};

/// More than any of it may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Starts an operator with this name in the Lease.
fn operator(cluster: &Cluster, name: &str) -> Operator {
    let identity = format!("--identity={name}");
    let mut operator = Operator::spawn_with(cluster, cluster.operator_kubeconfig(), &[&identity]);
    operator.wait_ready();
    operator
}

/// Who leads, by the name before what makes it unique.
fn leader(cluster: &Cluster) -> Option<String> {
    let lease = cluster.get("lease", "environment-manager", "environment-manager")?;
    let holder = lease["spec"]["holderIdentity"].as_str()?;
    Some(holder.split('_').next()?.to_owned())
}

/// How long it takes until this one leads.
fn until_leads(cluster: &Cluster, name: &str) -> Duration {
    let begun = Instant::now();
    let leads = || Ok((leader(cluster).as_deref() == Some(name)).then_some(()));
    wait_until(&format!("{name} to lead"), LIMIT, leads).unwrap();
    begun.elapsed()
}

#[test]
fn a_leader_that_is_stopped_hands_over_within_two_seconds_and_one_that_is_killed_within_ten() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let one = operator(&cluster, "one");
    until_leads(&cluster, "one");
    // A standby is ready: it has warm caches, and waits for nothing but the Lease.
    let two = operator(&cluster, "two");
    assert!(two.get("/readyz").unwrap().starts_with("HTTP/1.1 200"));
    let dev = project.environment("dev").ready();
    assert_eq!(leader(&cluster).as_deref(), Some("one"));

    let begun = Instant::now();
    assert!(one.terminate().success());
    until_leads(&cluster, "two");
    let handed_over = begun.elapsed();
    println!("stopped: the other one led after {} ms", handed_over.as_millis());
    assert!(handed_over < Duration::from_secs(2), "{handed_over:?}");
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "1"}]}}));

    let three = operator(&cluster, "three");
    let begun = Instant::now();
    two.kill_and_keep_the_lease();
    until_leads(&cluster, "three");
    let taken_over = begun.elapsed();
    println!("killed: the other one led after {} ms", taken_over.as_millis());
    assert!(taken_over < Duration::from_secs(10), "{taken_over:?}");
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "2"}]}}));
    assert_eq!(dev.history().len(), 3);
    assert!(three.terminate().success());
}

#[test]
fn a_leader_that_is_cut_from_the_api_server_stops_writing_before_another_one_begins() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let proxy = Proxy::start(&cluster, project.namespace());
    let mut one = Operator::spawn_with(&cluster, proxy.kubeconfig(), &["--identity=one"]);
    one.wait_ready();
    until_leads(&cluster, "one");
    let _two = operator(&cluster, "two");
    let environments: Vec<_> = (0..4).map(|number| project.environment(&format!("e{number}"))).collect();
    let environments: Vec<_> = environments.into_iter().map(|environment| environment.ready()).collect();

    // Busy, so that it would write if it could.
    let edit = |value: &str| {
        let config = json!({"config": {"variables": [{"name": "A", "value": value}]}});
        for environment in &environments {
            environment.edit(&config);
        }
    };
    edit("1");
    let begun = Instant::now();
    proxy.cut();
    edit("2");
    let status = one.wait_end();
    println!("cut off: it ended after {} ms with {status}", begun.elapsed().as_millis());
    assert_eq!(status.code(), Some(1), "a leader that has lost ends");
    assert_eq!(leader(&cluster).as_deref(), Some("one"), "nobody else leads yet when it has ended");
    until_leads(&cluster, "two");
    println!("cut off: the other one led after {} ms", begun.elapsed().as_millis());
    for environment in &environments {
        environment.wait_for("the edit", |object| object["status"]["observedGeneration"] == 3);
        environment.verify_history().unwrap();
    }
}

/// From the audit log: when whose writes were answered. The Lease says who led when.
#[test]
fn no_write_of_one_leader_comes_after_another_one_has_begun() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let mut leader: Option<Operator> = None;
    let mut environments = vec![];
    for (round, name) in ["one", "two", "three", "four"].into_iter().enumerate() {
        let standby = with_own_token(&cluster, name);
        environments.push(project.environment(&format!("e{round}")).create());
        if let Some(former) = leader.replace(standby) {
            environments[round].wait_ready();
            // In the middle of its work, by turns the one way and the other.
            for environment in &environments {
                environment.edit(&json!({"config": {"variables": [{"name": "R", "value": round.to_string()}]}}));
            }
            if round % 2 == 0 {
                former.kill_and_keep_the_lease();
            } else {
                former.terminate();
            }
        }
        until_leads(&cluster, name);
    }
    for environment in &environments {
        environment.wait_ready();
        environment.verify_history().unwrap();
    }
    let writes = writes_by_process(&cluster.audit_log(), project.namespace());
    assert!(writes.len() >= 3, "only {:?} wrote", writes.keys());
    let mut spans: Vec<(Timestamp, Timestamp, usize)> = writes
        .values()
        .map(|times| (*times.iter().min().unwrap(), *times.iter().max().unwrap(), times.len()))
        .collect();
    spans.sort();
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two processes wrote at the same time: {spans:#?}");
    }
    println!("{} processes wrote one after the other: {spans:#?}", spans.len());
}

/// An operator that can be told from others in the audit log.
fn with_own_token(cluster: &Cluster, name: &str) -> Operator {
    let kubeconfig = cluster.plane().service_account_kubeconfig("environment-manager", "environment-manager").unwrap();
    let identity = format!("--identity={name}");
    let mut operator = Operator::spawn_with(cluster, &kubeconfig, &[&identity]);
    operator.wait_ready();
    operator
}

/// When the writes of each token in a project arrived.
fn writes_by_process(log: &Path, project: &str) -> HashMap<String, Vec<Timestamp>> {
    let mut writes: HashMap<String, Vec<Timestamp>> = HashMap::new();
    let text = eventually("the audit log", || fs::read_to_string(log).ok());
    for entry in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let namespace = entry["objectRef"]["namespace"].as_str().unwrap_or_default();
        let reads = ["get", "list", "watch"].contains(&entry["verb"].as_str().unwrap_or_default());
        let token = entry["user"]["extra"]["authentication.kubernetes.io/credential-id"][0].as_str();
        let operator = entry["user"]["username"] == Operator::USER;
        if let (true, false, Some(token)) = (operator && namespace.starts_with(project), reads, token) {
            let at = entry["requestReceivedTimestamp"].as_str().unwrap().parse().unwrap();
            writes.entry(token.to_owned()).or_default().push(at);
        }
    }
    writes
}
