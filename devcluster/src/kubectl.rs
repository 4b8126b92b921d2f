//! `kubectl`, as a person would use it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::{Error, Result};

/// `kubectl` with somebody's kubeconfig. It changes nothing outside the control plane's directory.
#[derive(Debug, Clone)]
pub struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Where it keeps what it learnt about the API server, instead of the person's `~/.kube`.
    pub(crate) cache: PathBuf,
}

impl Kubectl {
    /// The command itself, for uses that the other methods do not cover (`--watch`, `port-forward`).
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache)
            // The person's own aliases and defaults for kubectl.
            .env("KUBECTL_KUBERC", "false");
        command
    }

    /// Runs it to its end, whether it succeeds or not.
    pub fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.command(args).stdin(Stdio::null()).output().map_err(|source| self.not_run(source))
    }

    /// Runs it and returns what it printed. The error holds what it wrote to stderr.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = self.command(args);
        command.stdin(Stdio::null());
        self.finish(command, "")
    }

    /// Runs it and returns the answer of the API server.
    pub fn json<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Value> {
        let mut command = self.command(args);
        command.args(["--output", "json"]).stdin(Stdio::null());
        let arguments = arguments(&command);
        let text = self.finish(command, "")?;
        serde_json::from_str(&text).map_err(|error| Error::Kubectl { arguments, message: error.to_string() })
    }

    /// Applies manifests (YAML or JSON) by server-side apply and returns what kubectl printed.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.finish(self.command(["apply", "--server-side", "--filename", "-"]), manifests)
    }

    /// Creates the objects of manifests (YAML or JSON), which must not exist yet.
    pub fn create(&self, manifests: &str) -> Result<String> {
        self.finish(self.command(["create", "--filename", "-"]), manifests)
    }

    fn finish(&self, mut command: Command, input: &str) -> Result<String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|source| self.not_run(source))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Broken when kubectl ended before it read all; then its own error says more.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(|source| self.not_run(source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr).lines().collect::<Vec<_>>().join("; ");
        Err(Error::Kubectl { arguments: arguments(&command), message })
    }

    fn not_run(&self, source: std::io::Error) -> Error {
        Error::Spawn { program: self.program.display().to_string(), source }
    }
}

/// The arguments as one text, for messages.
fn arguments(command: &Command) -> String {
    command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
