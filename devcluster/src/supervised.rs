//! Programs that cannot outlive their owner.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// The wrapper between the owner and the server.
///
/// Its standard input is a pipe whose other end only the owner holds. The owner writes signal names to it, and the
/// kernel closes it when the owner ends, however it ends: then the server is killed. The server itself holds neither
/// the pipe (`3<&-`) nor the wrapper's standard output, on which the wrapper tells the server's process id.
const WRAPPER: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null >&2 &
server=$!
echo "$server"
exec >&2
( while read -r signal <&3; do kill -s "$signal" "$server"; done; kill -s KILL "$server" ) 2>/dev/null &
guard=$!
wait "$server"
code=$?
kill "$guard" 2>/dev/null
exit "$code"
"#;

/// A running program that is killed when this value is dropped, and when its owner's process ends: by returning, by a
/// panic, by Ctrl-C or by `kill -9`.
///
/// It runs in a process group of its own, so that Ctrl-C in a terminal reaches the owner alone, which can then end its
/// programs in an order of its choice.
#[derive(Debug)]
pub struct Supervised {
    program: String,
    wrapper: Child,
    /// Closing it kills the program. `None` after that.
    leash: Option<ChildStdin>,
    pid: u32,
}

impl Supervised {
    /// Starts `command`, with everything it prints appended to the file `log`.
    ///
    /// The program, arguments, directory and single environment variables (set or removed) of `command` are used. Not
    /// used are `env_clear`, which a [`Command`] does not tell, and its streams: standard input is empty.
    pub fn spawn(command: &Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log).map_err(Error::io("open", log))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |source| Error::Spawn { program: program.clone(), source };
        let mut wrapper =
            wrapped(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(output).spawn().map_err(failed)?;
        let leash = wrapper.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = wrapper.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        let pid = line.trim().parse().map_err(|_| failed(std::io::Error::other("its wrapper did not start it")))?;
        Ok(Self { program, wrapper, leash, pid })
    }

    /// The process id of the program itself, not of its wrapper.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal by its name without "SIG": `TERM`, `STOP`, `CONT`. Does nothing when the program has ended.
    pub fn signal(&mut self, name: &str) {
        if let Some(leash) = &mut self.leash {
            // The pipe is broken only when nobody is left to be signalled.
            let _ = writeln!(leash, "{name}");
        }
    }

    /// Asks the program to end (SIGTERM). [`Self::wait`] tells when it has.
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Kills the program (SIGKILL) and waits until it is gone.
    pub fn kill_hard(&mut self) -> Result<ExitStatus> {
        self.leash = None;
        self.wait()
    }

    /// Waits until the program has ended. A program that ended by signal n has the exit code 128 + n.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wrapper.wait().map_err(|source| Error::Spawn { program: self.program.clone(), source })
    }

    /// The exit status, or `None` while the program runs. The code is as for [`Self::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.wrapper.try_wait().map_err(|source| Error::Spawn { program: self.program.clone(), source })
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.kill_hard();
    }
}

/// The server, also after another test's panic while it held it: what it guards is whole at every moment.
pub(crate) fn held(server: &Mutex<Option<Supervised>>) -> MutexGuard<'_, Option<Supervised>> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The command that runs `command` under the wrapper.
fn wrapped(command: &Command) -> Command {
    let mut wrapper = Command::new("/bin/sh");
    wrapper.arg("-c").arg(WRAPPER).arg("supervised").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapper.current_dir(directory);
    }
    wrapper.process_group(0);
    wrapper
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn alive(pid: u32) -> bool {
        Command::new("/bin/sh").args(["-c", &format!("kill -0 {pid} 2>/dev/null")]).status().unwrap().success()
    }

    #[test]
    fn its_output_and_exit_code_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let status = Supervised::spawn(sh("echo out; echo err >&2; exit 7").env("A", "b"), &log).unwrap().wait();
        assert_eq!(status.unwrap().code(), Some(7));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "out\nerr\n");
    }

    #[test]
    fn it_dies_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let server = Supervised::spawn(&sh("exec sleep 600"), &directory.path().join("log")).unwrap();
        let pid = server.pid();
        assert!(alive(pid));
        drop(server);
        assert!(!alive(pid));
    }

    #[test]
    fn it_gets_signals() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
        let mut server = Supervised::spawn(&sh(script), &log).unwrap();
        let said = |word| {
            let text = std::fs::read_to_string(&log).unwrap();
            Ok(text.contains(word).then_some(()))
        };
        wait_for("the trap", || said("ready"));
        assert!(server.try_wait().unwrap().is_none());
        server.terminate();
        assert_eq!(server.wait().unwrap().code(), Some(3));
        wait_for("its last word", || said("bye"));
    }

    #[test]
    fn a_stopped_program_can_be_killed() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Supervised::spawn(&sh("exec sleep 600"), &directory.path().join("log")).unwrap();
        server.signal("STOP");
        assert_eq!(server.kill_hard().unwrap().code(), Some(128 + 9));
    }

    #[test]
    fn a_missing_program_is_told_in_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let status = Supervised::spawn(&Command::new("/no/such/program"), &log).unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(127));
        assert!(std::fs::read_to_string(log).unwrap().contains("/no/such/program"));
    }

    fn wait_for(what: &str, look: impl FnMut() -> Result<Option<()>>) {
        crate::wait_until(what, Duration::from_secs(10), look).unwrap();
    }
}
