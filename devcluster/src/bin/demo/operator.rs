//! The operator as the demo runs it: what the chart's `Deployment` says, as a process, with its `ServiceAccount`'s rights.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use devcluster::{Supervised, wait_until};
use serde_json::{Value, json};

use crate::{
    Failure,
    stage::{Stage, repository},
};

/// The running operator. It ends with this value.
pub struct Operator {
    process: Supervised,
    address: SocketAddr,
    kubeconfig: PathBuf,
    log: PathBuf,
}

/// Builds the operator and the plugin. Cargo shows its progress.
pub fn build() -> Result<(), Failure> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package", "environment-manager", "--bins"]).current_dir(repository());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let status = cargo.status().map_err(Failure::io("run cargo"))?;
    if status.success() { Ok(()) } else { Err(Failure::Step("the operator does not build".to_owned())) }
}

impl Operator {
    /// Starts the operator and waits until it is ready.
    pub fn start(stage: &Stage) -> Result<Self, Failure> {
        Self::start_with(stage, &[])
    }

    /// The same with these further arguments, for what is mounted into a pod.
    pub fn start_with(stage: &Stage, args: &[String]) -> Result<Self, Failure> {
        let kubeconfig = kubeconfig_of_service_account(stage)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::io("find a free port"))?;
        let address = listener.local_addr().map_err(Failure::io("find a free port"))?;
        drop(listener);
        let log = stage.files().join("operator.log");
        let mut command = Command::new(stage.programs().join("environment-manager"));
        command.args(args_of_deployment(stage)?).args(args).arg("--kubeconfig").arg(&kubeconfig);
        command.args(["--listen", &address.to_string()]);
        let mut operator = Self { process: Supervised::spawn(&command, &log)?, address, kubeconfig, log };
        operator.wait_until_ready()?;
        Ok(operator)
    }

    /// Ends it as Kubernetes does.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.process.terminate();
        self.process.wait()?;
        Ok(())
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it connects: as its `ServiceAccount`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where it serves health and metrics.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let (process, address) = (&mut self.process, self.address);
        let ended = wait_until("the operator to be ready", Duration::from_mins(1), || {
            if let Some(status) = process.try_wait()? {
                return Ok(Some(Some(status)));
            }
            Ok(is_ready(address).then_some(None))
        })?;
        match ended {
            None => Ok(()),
            Some(status) => {
                Err(Failure::Step(format!("the operator ended with {status}; its log is {}", self.log.display())))
            }
        }
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// The arguments of the operator's container, but for what is a pod's: its address, and logs for machines.
fn args_of_deployment(stage: &Stage) -> Result<Vec<String>, Failure> {
    let args = stage.quietly(
        "kubectl get deployment environment-manager --namespace environment-manager --output jsonpath='{.spec.template.spec.containers[0].args}'",
    )?;
    let args: Vec<String> = serde_json::from_str(&args)
        .map_err(|error| Failure::Step(format!("the Deployment's arguments are not readable: {error}")))?;
    let of_the_pod = ["--listen", "--log-format", "--vault-token-file", "--vault-ca-file"];
    Ok(args.into_iter().filter(|arg| !of_the_pod.iter().any(|only| arg.starts_with(only))).collect())
}

/// The cluster of the stage's kubeconfig, with a token of the operator's `ServiceAccount` (`TokenRequest`).
fn kubeconfig_of_service_account(stage: &Stage) -> Result<PathBuf, Failure> {
    let token =
        stage.quietly("kubectl create token environment-manager --namespace environment-manager --duration 12h")?;
    let view = stage.quietly("kubectl config view --raw --minify --flatten --output json")?;
    let mut kubeconfig: Value = serde_json::from_str(&view)
        .map_err(|error| Failure::Step(format!("the kubeconfig is not readable: {error}")))?;
    kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
    let path = stage.files().join("operator.kubeconfig");
    fs::write(&path, kubeconfig.to_string()).map_err(Failure::io("write the operator's kubeconfig"))?;
    Ok(path)
}
