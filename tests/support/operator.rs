//! The operator as a process of its own: with the arguments of the chart's `Deployment`, and the rights of its
//! `ServiceAccount`, and no others.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, ExitStatus},
};

use devcluster::Supervised;

use super::{Cluster, chart, eventually};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_environment-manager");

/// A Lease that is not lost because the machine has too much to do: dozens of tests share two processors.
pub const PATIENT: &str = "--lease-duration=2m";

/// A running operator. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Operator {
    process: Supervised,
    address: SocketAddr,
}

impl Operator {
    /// The name under which the API server knows the operator.
    pub const USER: &'static str = "system:serviceaccount:environment-manager:environment-manager";

    /// The program, for its other commands.
    pub fn command(args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args);
        command
    }

    /// What one of the program's other commands prints.
    pub fn prints(args: &[&str]) -> String {
        let output = Self::command(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts the operator and does not wait.
    pub fn spawn(cluster: &Cluster) -> Self {
        Self::spawn_with(cluster, cluster.operator_kubeconfig(), &[PATIENT])
    }

    /// Starts the operator with this kubeconfig and these further arguments, and does not wait.
    pub fn spawn_with(cluster: &Cluster, kubeconfig: &Path, args: &[&str]) -> Self {
        let log = cluster.dir().join("logs/environment-manager.log");
        let mut all: Vec<&str> = cluster.operator_args().iter().map(String::as_str).collect();
        all.extend(args);
        Self::run(kubeconfig, &log, &all)
    }

    /// Starts the operator with nothing but these arguments, and does not wait.
    pub fn run(kubeconfig: &Path, log: &Path, args: &[&str]) -> Self {
        let address = free_address();
        let mut command = Self::command(&[]);
        command.args(args).arg("--kubeconfig").arg(kubeconfig).args(["--listen", &address.to_string()]);
        let process = Supervised::spawn(&command, log).unwrap();
        Self { process, address }
    }

    /// Starts the operator and waits until it knows the cluster.
    pub fn start(cluster: &Cluster) -> Self {
        let mut operator = Self::spawn(cluster);
        operator.wait_ready();
        operator
    }

    /// Waits until `/readyz` says so.
    pub fn wait_ready(&mut self) {
        eventually("the operator to be ready", || {
            assert!(self.process.try_wait().unwrap().is_none(), "the operator ended before it was ready");
            self.get("/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")).map(drop)
        });
    }

    /// The whole answer of the operator's HTTP server; `None` if it does not answer.
    pub fn get(&self, path: &str) -> Option<String> {
        http_get(self.address, path)
    }

    /// Ends it without warning, and has the time go by for which its Lease keeps others away.
    pub fn kill(self, cluster: &Cluster) {
        self.kill_and_keep_the_lease();
        chart::free_lease(&cluster.kubectl());
    }

    /// Ends it without warning.
    pub fn kill_and_keep_the_lease(mut self) {
        self.process.kill_hard().unwrap();
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Waits until it ends by itself.
    pub fn wait_end(mut self) -> ExitStatus {
        eventually("the operator to end", || self.process.try_wait().unwrap())
    }

    /// Ends it as Kubernetes does.
    pub fn terminate(mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait().unwrap()
    }
}

/// The whole answer of an HTTP server; `None` if it does not answer.
pub fn http_get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// An address that nobody listened on a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
