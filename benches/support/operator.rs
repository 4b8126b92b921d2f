//! The operator as a process, with its own `ServiceAccount`.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use devcluster::{Supervised, wait_until};

use super::{
    Result,
    cluster::{Cluster, NAME, PROGRAM},
    usage::Memory,
};

/// More than any start takes.
const START_LIMIT: Duration = Duration::from_mins(2);

/// A running operator.
pub struct Operator {
    process: Supervised,
    clock: Instant,
    address: SocketAddr,
}

impl Operator {
    pub fn start(cluster: &Cluster, flags: &[&str]) -> Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--listen").arg(address.to_string()).args(flags);
        command.args(["--namespace", NAME]).arg("--kubeconfig").arg(&cluster.operator_kubeconfig);
        let log = cluster.plane.dir().join("logs").join("operator.log");
        let clock = Instant::now();
        Ok(Self { process: Supervised::spawn(&command, &log)?, clock, address })
    }

    /// Waits until `/readyz` says yes, and returns how long that was after the start.
    pub fn until_ready(&self) -> Result<Duration> {
        wait_until("the operator to be ready", START_LIMIT, || Ok(self.is_ready().then(|| self.clock.elapsed())))
            .map_err(Into::into)
    }

    fn is_ready(&self) -> bool {
        let mut answer = [0_u8; 12];
        let asked = TcpStream::connect(self.address).and_then(|mut stream| {
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n")?;
            stream.read_exact(&mut answer)
        });
        asked.is_ok() && answer.ends_with(b" 200")
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.process.pid())
    }

    /// Ends it as Kubernetes does.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate();
        self.process.wait()?;
        Ok(())
    }
}
