//! Runs a recipe, shows how far it is, and says in one line why it failed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::recipe::{Method, Recipe};
use super::{go, pip};
use crate::{Error, Result, Supervised, progress::say, wait_until};

/// How often the person sees that something is still going on.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// More than the slowest machine needs; a build that hangs must not hang for ever.
const LIMIT: Duration = Duration::from_hours(2);

/// Makes the recipe's programs in `staging/bin`; the output goes to `log`.
pub(super) fn run(recipe: &Recipe, search_path: &OsStr, staging: &Path, log: &Path) -> Result<()> {
    let pins = staging.join("pins");
    fs::create_dir_all(&pins).map_err(Error::io("create", &pins))?;
    for (name, contents) in recipe.pins {
        let path = pins.join(name);
        fs::write(&path, contents).map_err(Error::io("write", &path))?;
    }
    let job = Job { recipe, search_path, pins: &pins, staging, log };
    match &recipe.method {
        Method::Go { packages, linker_flags } => go::build(&job, packages, linker_flags),
        Method::GoFiles { files } => go::take(&job, files),
        Method::Pip { program } => pip::install(&job, program),
    }
}

/// One build or installation under way.
pub(super) struct Job<'a> {
    pub recipe: &'a Recipe,
    /// Where to look for Go and Python: a `PATH`.
    pub search_path: &'a OsStr,
    /// The folder with the pins.
    pub pins: &'a Path,
    /// The folder whose `bin` gets the programs.
    pub staging: &'a Path,
    /// The file for the output.
    pub log: &'a Path,
}

impl Job<'_> {
    /// Finds an executable as a shell would.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let executable = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        std::env::split_paths(self.search_path).map(|directory| directory.join(name)).find(executable)
    }

    /// Runs the command to its end and returns how it ended and what it printed. `count` is what its lines are.
    pub fn run(&self, command: &Command, count: &str) -> Result<(ExitStatus, String)> {
        let _ = fs::remove_file(self.log);
        say(&format!("about to {}, once per user: {}", self.recipe.purpose(), self.recipe.cost));
        let start = Instant::now();
        let mut reported = start;
        let mut process = Supervised::spawn(command, self.log)?;
        let status = wait_until(&self.recipe.purpose(), LIMIT, || {
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                say(&report(self.recipe.name, start.elapsed(), &self.output(), count));
            }
            process.try_wait()
        })?;
        Ok((status, self.output()))
    }

    fn output(&self) -> String {
        fs::read(self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The error that a program is missing or unfit.
    pub fn prerequisite(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Prerequisite { purpose: self.recipe.purpose(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The error that the command failed, with the last line of its output that `says_more` picks, or else its last.
    pub fn failure(&self, output: &str, says_more: impl Fn(&str) -> bool) -> Error {
        let line = output.lines().rfind(|line| says_more(line));
        let problem =
            line.or_else(|| output.lines().rfind(|line| !line.trim().is_empty())).unwrap_or("it said nothing");
        Error::Build { purpose: self.recipe.purpose(), problem: problem.trim().to_owned(), log: self.log.to_owned() }
    }
}

/// One line about how far it is: `kubernetes: 2m10s, 812 packages, now k8s.io/api/core/v1`.
fn report(name: &str, elapsed: Duration, output: &str, count: &str) -> String {
    let seconds = elapsed.as_secs();
    let now = output.lines().next_back().unwrap_or("at work");
    // Go says "go: downloading …" of a module, and the bare name of a package that it compiles.
    let done = output.lines().filter(|line| !line.starts_with("go: ")).count();
    format!("{name}: {}m{:02}s, {done} {count}, now {now}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_how_far_it_is() {
        let line = report("etcd", Duration::from_secs(75), "go: downloading m\na\nb\n", "packages");
        assert_eq!(line, "etcd: 1m15s, 2 packages, now b");
    }
}
