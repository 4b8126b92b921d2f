//! Starting a server and waiting until it is ready.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::{Error, Result, Supervised, wait_until};

/// Generous: on a busy machine with few cores a start takes several times as long as on an idle one.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// How many other ports are tried when somebody else took the free one first.
const ATTEMPTS: usize = 5;

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|source| Error::Spawn { program: "a listener on loopback".to_owned(), source })
}

/// Starts a server on a free port, and on another one when somebody takes that first. `attempt` is given the port, and
/// returns `None` when it was taken.
pub(crate) fn on_free_port<T>(server: &str, log: &Path, attempt: impl Fn(u16) -> Result<Option<T>>) -> Result<T> {
    for _ in 0..ATTEMPTS {
        if let Some(started) = attempt(free_port()?)? {
            return Ok(started);
        }
    }
    let problem = format!("found each of {ATTEMPTS} free ports taken");
    Err(Error::Server { server: server.to_owned(), problem, log: log.to_owned() })
}

/// Starts a server and waits until it is ready. `None` when its port is taken.
pub(crate) fn start(
    server: &str,
    command: &Command,
    log: &Path,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<Option<Supervised>> {
    let said_before = fs::metadata(log).map_or(0, |file| file.len());
    let mut process = Supervised::spawn(command, log)?;
    let failed = |problem| Error::Server { server: server.to_owned(), problem, log: log.to_owned() };
    let is_up = wait_until(server, READY_LIMIT, || {
        if let Some(status) = process.try_wait()? {
            let said = text_from(log, said_before);
            let clash = said.contains("address already in use");
            return if clash { Ok(Some(false)) } else { Err(failed(ending(status, &said))) };
        }
        Ok(ready()?.then_some(true))
    });
    match is_up {
        Ok(true) => Ok(Some(process)),
        Ok(false) => Ok(None),
        Err(Error::Timeout { seconds, .. }) => Err(failed(format!("was not ready after {seconds} s"))),
        Err(error) => Err(error),
    }
}

/// How a server ended, with its last words.
fn ending(status: ExitStatus, said: &str) -> String {
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
    format!("ended with {status}; the last it said was {last:?}")
}

/// What is in a file from a position on.
fn text_from(log: &Path, position: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let start = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_taken_port_is_followed_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let ports = RefCell::new(Vec::new());
        let server = on_free_port("server", &log, |port| {
            ports.borrow_mut().push(port);
            let taken = ports.borrow().len() == 1;
            let script = if taken { "echo bind: address already in use; exit 1" } else { "exec sleep 600" };
            start("server", &sh(script), &log, || Ok(!taken))
        });
        assert!(server.unwrap().try_wait().unwrap().is_none());
        assert_eq!(ports.borrow().len(), 2);
    }

    #[test]
    fn a_server_that_ends_says_why_and_where_its_log_is() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let error = start("server", &sh("echo unknown flag; exit 2"), &log, || Ok(false)).unwrap_err().to_string();
        assert!(error.contains("unknown flag"), "{error}");
        assert!(error.contains(&log.display().to_string()), "{error}");
    }
}
