//! A control plane ends with its owner and leaves nothing behind but the logs that somebody needs.

#![allow(clippy::unwrap_used, reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use devcluster::{ControlPlane, Options, Toolbox, wait_until};

const LIMIT: Duration = Duration::from_mins(1);
/// Tells the test below that it is to be the owner.
const OWNER_ROLE: &str = "DEVCLUSTER_TEST_OWNER";

/// Another process that owns a control plane in `parent`: this test binary again, running only [`the_owner`].
fn spawn_owner(parent: &Path, role: &str) -> Owner {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_owner", "--ignored", "--nocapture"])
        .env(OWNER_ROLE, role)
        .env("TMPDIR", parent)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap());
    let (mut directory, mut pids) = (None, BTreeSet::new());
    while pids.is_empty() {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the owner ended before it told its servers");
        if let Some((_, path)) = line.split_once("directory: ") {
            directory = Some(PathBuf::from(path.trim()));
        }
        if let Some((_, numbers)) = line.split_once("servers: ") {
            pids = numbers.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        }
    }
    Owner { process, pids, directory: directory.unwrap(), _lines: lines }
}

struct Owner {
    process: Child,
    pids: BTreeSet<u32>,
    directory: PathBuf,
    /// Its standard output stays open, or it would end by writing to it.
    _lines: BufReader<ChildStdout>,
}

#[test]
#[ignore = "not a test: it is run by the others, as a process that owns a control plane"]
fn the_owner() {
    let Ok(role) = std::env::var(OWNER_ROLE) else { return };
    let cluster = ControlPlane::shared();
    let project = cluster.project("owned").unwrap();
    println!("directory: {}", cluster.dir().display());
    println!("servers: {}", cluster.pids().iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    match role.as_str() {
        "fail" => panic!("as a failing test does, with {project:?}"),
        "return" => {}
        _ => loop {
            std::thread::park();
        },
    }
}

fn is_running(pid: u32) -> bool {
    signal("0", pid)
}

fn signal(name: &str, pid: u32) -> bool {
    let script = r#"kill -s "$0" "$1" 2>/dev/null"#;
    Command::new("/bin/sh").args(["-c", script, name, &pid.to_string()]).status().unwrap().success()
}

fn wait_for_the_end_of(pids: &BTreeSet<u32>) {
    wait_until("the end of the servers", LIMIT, || Ok((!pids.iter().any(|&pid| is_running(pid))).then_some(())))
        .unwrap();
}

fn wait_for_the_removal_of(directory: &Path) {
    let what = format!("the removal of {}", directory.display());
    wait_until(&what, LIMIT, || Ok((!directory.exists()).then_some(()))).unwrap();
}

#[test]
fn its_servers_and_directory_go_when_the_owner_is_killed() {
    for signal_name in ["KILL", "INT"] {
        let parent = tempfile::tempdir().unwrap();
        let mut owner = spawn_owner(parent.path(), "wait");
        assert_eq!(owner.pids.len(), 3);
        assert!(owner.pids.iter().all(|&pid| is_running(pid)));
        assert!(owner.directory.starts_with(parent.path()));
        assert!(signal(signal_name, owner.process.id()));
        owner.process.wait().unwrap();
        wait_for_the_end_of(&owner.pids);
        wait_for_the_removal_of(&owner.directory);
    }
}

#[test]
fn they_go_when_the_owner_returns() {
    let parent = tempfile::tempdir().unwrap();
    let mut owner = spawn_owner(parent.path(), "return");
    assert!(owner.process.wait().unwrap().success());
    wait_for_the_end_of(&owner.pids);
    wait_for_the_removal_of(&owner.directory);
}

#[test]
fn the_logs_stay_when_a_test_fails() {
    let parent = tempfile::tempdir().unwrap();
    let mut owner = spawn_owner(parent.path(), "fail");
    assert!(!owner.process.wait().unwrap().success());
    wait_for_the_end_of(&owner.pids);
    wait_for_the_removal_of(&owner.directory.join("etcd"));
    for log in ["logs/etcd.log", "logs/kube-apiserver.log", "logs/kube-controller-manager.log", "audit.log"] {
        assert!(owner.directory.join(log).is_file(), "{log} is not there");
    }
}

#[test]
fn it_leaves_nothing_when_it_is_stopped() {
    let parent = tempfile::tempdir().unwrap();
    let options = Options { parent: Some(parent.path().to_owned()), ..Options::default() };
    let cluster = ControlPlane::start(&options).unwrap();
    let pids: BTreeSet<_> = cluster.pids().into_iter().collect();
    cluster.stop();
    assert!(!pids.iter().any(|&pid| is_running(pid)));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn the_log_of_a_server_that_does_not_start_stays() {
    let parent = tempfile::tempdir().unwrap();
    let mut tools = Toolbox::from_env().unwrap().control_plane().unwrap();
    tools.kube_apiserver = parent.path().join("no-such-program");
    let options = Options { parent: Some(parent.path().to_owned()), ..Options::default() };
    let error = ControlPlane::start_with(tools, &options).unwrap_err().to_string();
    let (_, log) = error.split_once("its log is ").unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains("no-such-program"), "{error}");
}

#[test]
fn the_api_server_comes_back_from_an_outage_with_its_data() {
    let cluster = ControlPlane::start(&Options::default()).unwrap();
    let project = cluster.project("outage").unwrap();
    let get = ["get", "namespace", project.namespace(), "--request-timeout", "5s"];
    cluster.stop_api_server().unwrap();
    assert!(!cluster.kubectl().output(get).unwrap().status.success());
    cluster.start_api_server().unwrap();
    cluster.kubectl().run(get).unwrap();
}
