//! `go build` of pinned modules.

use std::process::Command;

use super::install::Job;
use crate::Result;

/// The oldest Go that the pins' `go` lines allow.
const NEEDED: &str = "install Go 1.26 or newer and have `go` in PATH, or set KUBEBUILDER_ASSETS to a folder with \
                      etcd, kube-apiserver, kube-controller-manager and kubectl";

/// Builds the packages into `staging/bin`.
pub(super) fn build(job: &Job<'_>, packages: &[&str], linker_flags: &str) -> Result<()> {
    let Some(go) = job.program("go") else {
        return Err(job.prerequisite("Go is not installed", needed(job)));
    };
    let bin = job.staging.join("bin");
    let mut command = Command::new(go);
    command
        .current_dir(job.pins)
        .args(["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(format!("-s -w {linker_flags}"))
        .arg("-o")
        // A package path that ends in a version (etcd's) would name the program after it.
        .arg(if let [program] = job.recipe.programs { bin.join(program) } else { bin.join("") })
        .args(packages)
        .env("CGO_ENABLED", "0")
        // What the person set for their own Go projects must not change what comes out.
        .env("GOWORK", "off")
        .env("GO111MODULE", "on")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    let (status, output) = job.run(&command, "packages")?;
    if status.success() {
        return Ok(());
    }
    if let Some(line) = output.lines().find(|line| line.contains("requires go >=")) {
        return Err(job.prerequisite(line.trim(), needed(job)));
    }
    if let Some(line) = output.lines().find(|line| is_network_trouble(line)) {
        let remedy = "connect to a network, or set GOPROXY to a reachable Go module proxy";
        return Err(job.prerequisite(format!("Go cannot download modules ({})", line.trim()), remedy));
    }
    Err(job.failure(&output, |line| line.contains("error") || line.contains("no space")))
}

/// What to do about a missing Go. Only programs of the control plane can be given instead of built.
fn needed(job: &Job<'_>) -> &'static str {
    let alternative = NEEDED.find(", or set").unwrap_or(NEEDED.len());
    if matches!(job.recipe.name, "etcd" | "kubernetes") { NEEDED } else { &NEEDED[..alternative] }
}

/// Whether the line of `go`'s output says that a download failed.
fn is_network_trouble(line: &str) -> bool {
    ["dial tcp", "no such host", "i/o timeout", "TLS handshake", "module lookup disabled", "connection refused"]
        .iter()
        .any(|sign| line.contains(sign))
}
