//! `go build` of pinned modules.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::install::Job;
use crate::{Error, Result};

/// The oldest Go that the pins' `go` lines allow.
const NEEDED: &str = "install Go 1.26 or newer and have `go` in PATH, or set KUBEBUILDER_ASSETS to a folder with \
                      etcd, kube-apiserver, kube-controller-manager and kubectl";

/// Downloads the pinned modules, and copies these files of them, each a module and a path, to `staging/bin`.
pub(super) fn take(job: &Job<'_>, files: &[(&str, &str)]) -> Result<()> {
    let output = run(job, &["mod", "download", "-json"], "modules")?;
    let modules: Vec<serde_json::Value> =
        serde_json::Deserializer::from_str(&output).into_iter().filter_map(std::result::Result::ok).collect();
    for (module, path) in files {
        let of_it = modules.iter().find(|found| found["Path"] == *module).and_then(|found| found["Dir"].as_str());
        let from = Path::new(of_it.unwrap_or(module)).join(path);
        let name = from.file_name().unwrap_or_default();
        fs::copy(&from, job.staging.join("bin").join(name)).map_err(Error::io("copy", &from))?;
    }
    Ok(())
}

/// Builds the packages into `staging/bin`.
pub(super) fn build(job: &Job<'_>, packages: &[&str], linker_flags: &str) -> Result<()> {
    let bin = job.staging.join("bin");
    // A package path that ends in a version (etcd's) would name the program after it.
    let out = if let [program] = job.recipe.programs { bin.join(program) } else { bin.join("") };
    let linker_flags = format!("-s -w {linker_flags}");
    let flags = ["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", &linker_flags, "-o"];
    let args: Vec<&OsStr> =
        flags.iter().map(OsStr::new).chain([out.as_os_str()]).chain(packages.iter().map(OsStr::new)).collect();
    run(job, &args, "packages").map(drop)
}

/// Runs `go` with these arguments in the folder with the pins, and returns what it printed.
fn run<A: AsRef<OsStr>>(job: &Job<'_>, args: &[A], count: &str) -> Result<String> {
    let Some(go) = job.program("go") else {
        return Err(job.prerequisite("Go is not installed", needed(job)));
    };
    let mut command = Command::new(go);
    command
        .current_dir(job.pins)
        .args(args)
        .env("CGO_ENABLED", "0")
        // What the person set for their own Go projects must not change what comes out.
        .env("GOWORK", "off")
        .env("GO111MODULE", "on")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    let (status, output) = job.run(&command, count)?;
    if status.success() {
        return Ok(output);
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::super::recipe;
    use super::*;

    /// Builds etcd with a `go` that is this shell script. Returns the error as the person sees it.
    fn build_with(go: &str, directory: &Path) -> Result<(), String> {
        let program = directory.join("go");
        fs::write(&program, format!("#!/bin/sh\n{go}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let job = Job {
            recipe: &recipe::etcd(),
            search_path: directory.as_os_str(),
            pins: directory,
            staging: directory,
            log: &directory.join("log"),
        };
        build(&job, &["example.com/etcd"], "-X a=b").map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_told_what_to_build_and_where_to() {
        let directory = tempfile::tempdir().unwrap();
        build_with(r#"echo "$@" >&2"#, directory.path()).unwrap();
        let arguments = fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(arguments.contains("-mod=readonly -trimpath"), "{arguments}");
        assert!(arguments.contains("-s -w -X a=b"), "{arguments}");
        assert!(arguments.contains("bin/etcd example.com/etcd"), "{arguments}");
    }

    #[test]
    fn each_failure_is_one_line_that_says_what_to_do() {
        let too_old = "echo 'go: go.mod requires go >= 1.26.0 (running go 1.22.1; GOTOOLCHAIN=local)'; exit 1";
        let offline = "echo 'Get https://host/etcd.zip: dial tcp: lookup host: no such host'; exit 1";
        let broken = "echo compiling; echo 'main.go:1:1: syntax error'; exit 1";
        for (go, words) in [
            (too_old, ["1.22.1", "install Go"]),
            (offline, ["lookup host", "GOPROXY"]),
            (broken, ["syntax error", "output is in"]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let error = build_with(go, directory.path()).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
