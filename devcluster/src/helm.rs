//! `helm`, as a person would use it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Error, Result};

/// `helm` with somebody's kubeconfig. It keeps its own files in the control plane's directory.
#[derive(Debug, Clone)]
pub struct Helm {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) home: PathBuf,
}

impl Helm {
    /// The command itself, for uses that [`run`](Self::run) does not cover.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).env("KUBECONFIG", &self.kubeconfig);
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.home.join(folder));
        }
        command
    }

    /// Runs it and returns what it printed. The error holds what it wrote to stderr.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = self.command(args);
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Spawn { program: self.program.display().to_string(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        let message = String::from_utf8_lossy(&output.stderr).lines().collect::<Vec<_>>().join("; ");
        Err(Error::Helm { arguments: arguments.join(" "), message })
    }
}
