//! `bao`, as a person would use it.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::{Error, Result};

/// What the names of the variables begin with that the program reads.
const VARIABLES: [&str; 2] = ["BAO_", "VAULT_"];

/// `bao` with somebody's token. It uses and changes nothing outside the control plane's directory.
#[derive(Clone)]
pub struct Bao {
    pub(crate) program: PathBuf,
    pub(crate) address: String,
    pub(crate) ca: PathBuf,
    /// Its home directory, instead of the person's, where it looks for settings and the token of the last login.
    pub(crate) home: PathBuf,
    /// Empty for nobody.
    pub(crate) token: String,
}

impl Bao {
    /// The command itself, for uses that the other methods do not cover.
    ///
    /// Every use is one request: `bao` does not try again, so that a test sees the first answer.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = program(&self.program, &self.home);
        command
            .args(args)
            .env("BAO_ADDR", &self.address)
            .env("BAO_CACERT", &self.ca)
            .env("BAO_TOKEN", &self.token)
            .env("BAO_MAX_RETRIES", "0");
        command
    }

    /// Runs it to its end, whether it succeeds or not.
    pub fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.command(args).stdin(Stdio::null()).output().map_err(|source| self.not_run(source))
    }

    /// Runs it and returns what it printed. The error holds what it said.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        self.run_with_input(args, "")
    }

    /// Runs it with this text on standard input, where it finds a value that is given as `-`, and returns what it
    /// printed.
    pub fn run_with_input<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &str) -> Result<String> {
        self.finish(self.command(args), input)
    }

    /// Runs it and returns the answer of the server.
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value> {
        let mut command = self.command(args);
        // The flag would have to stand between the subcommand and its arguments.
        command.env("BAO_FORMAT", "json");
        let arguments = arguments(&command);
        let text = self.finish(command, "")?;
        serde_json::from_str(&text).map_err(|error| Error::Bao { arguments, message: error.to_string() })
    }

    fn finish(&self, mut command: Command, input: &str) -> Result<String> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| self.not_run(source))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Broken when bao ended before it read all; then its own error says more.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|source| self.not_run(source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        // The status of a sealed server is a failure that is told on standard output.
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let said = String::from_utf8_lossy(said);
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(Error::Bao { arguments: arguments(&command), message: lines.join("; ") })
    }

    fn not_run(&self, source: std::io::Error) -> Error {
        Error::Spawn { program: self.program.display().to_string(), source }
    }
}

impl fmt::Debug for Bao {
    /// Without the token.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Bao").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The program without the person's settings: another server, another token, another format.
pub(crate) fn program(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if VARIABLES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env("HOME", home);
    command
}

/// The arguments as one text, for messages.
fn arguments(command: &Command) -> String {
    command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
