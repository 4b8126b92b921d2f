//! Where the demo plays: it shows commands, runs them as shown, and prints what they print.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env, fs,
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use devcluster::{Toolbox, wait_until};
use tempfile::TempDir;

use crate::Failure;

/// Who acts in the story: ana and ben manage releases, cleo builds, argocd deploys, ci validates.
pub const PEOPLE: [&str; 5] = ["ana", "ben", "cleo", "argocd", "ci"];

/// The stage: a kubeconfig, the programs on the PATH, and the repository as the current directory.
pub struct Stage {
    kubeconfig: PathBuf,
    programs: PathBuf,
    files: TempDir,
    variables: RefCell<BTreeMap<String, String>>,
    colour: bool,
}

impl Stage {
    /// A stage on this cluster. The programs are `kubectl`, `helm`, and the ones that were built beside the demo.
    ///
    /// Its files lie below `parent`: what is there goes with the control plane, also when the demo is killed.
    pub fn new(kubeconfig: PathBuf, tools: &Toolbox, parent: &Path) -> Result<Self, Failure> {
        let files = TempDir::with_prefix_in("demo-", parent).map_err(Failure::io("make a temporary folder"))?;
        let programs = files.path().join("bin");
        fs::create_dir(&programs).map_err(Failure::io("make a folder for programs"))?;
        let built = built_programs()?;
        let links = [
            ("kubectl", tools.kubectl()?),
            ("helm", tools.helm()?),
            ("environment-manager", built.join("environment-manager")),
            ("kubectl-penv", built.join("kubectl-penv")),
        ];
        for (name, program) in links {
            symlink(&program, programs.join(name)).map_err(Failure::io(format!("link {}", program.display())))?;
        }
        let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Self { kubeconfig, programs, files, variables: RefCell::default(), colour })
    }

    /// The kubeconfig that all commands use.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The folder that holds the programs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// A folder for files of the demo. It goes with the stage.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// Sets a variable that all following commands have.
    pub fn set(&self, name: &str, value: &str) {
        self.variables.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    /// Puts a program on the PATH of all following commands.
    pub fn link(&self, name: &str, program: &Path) -> Result<(), Failure> {
        symlink(program, self.programs.join(name)).map_err(Failure::io(format!("link {}", program.display())))
    }

    /// A kubeconfig for somebody else, whom this one's user may impersonate. Commands name it by a variable with the
    /// person's name: `KUBECONFIG=$ben kubectl …`.
    pub fn person(&self, name: &str) -> Result<(), Failure> {
        let config = self.quietly("kubectl config view --raw --flatten --minify --output json")?;
        let unreadable = |error: serde_json::Error| Failure::Step(format!("the kubeconfig cannot be read: {error}"));
        let mut config: serde_json::Value = serde_json::from_str(&config).map_err(unreadable)?;
        for user in config["users"].as_array_mut().into_iter().flatten() {
            user["user"]["as"] = name.into();
        }
        fs::write(self.kubeconfig_of(name), config.to_string()).map_err(Failure::io("write a kubeconfig"))
    }

    /// Where the kubeconfig of a person is.
    pub fn kubeconfig_of(&self, person: &str) -> PathBuf {
        self.files.path().join(format!("{person}.kubeconfig"))
    }

    /// Begins a chapter.
    pub fn chapter(&self, title: &str, text: &str) {
        println!("\n{}", self.styled("1;36", &format!("━━ {title} ")));
        if !text.is_empty() {
            println!("{text}");
        }
    }

    /// Says something between two commands.
    pub fn note(&self, text: &str) {
        println!("{}", self.styled("2", text));
    }

    /// Shows a command, runs it, and prints its output; it must succeed. Gives back what it printed.
    pub fn run(&self, command: &str) -> Result<String, Failure> {
        let output = self.play(command)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failure::Step(format!("`{command}` ended with {}", output.status)))
    }

    /// As [`run`](Self::run), for a command that must be refused, for this reason.
    pub fn refused(&self, command: &str, why: &str) -> Result<(), Failure> {
        let output = self.play(command)?;
        if output.status.success() {
            return Err(Failure::Step(format!("`{command}` should have been refused")));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains(why) {
            Ok(())
        } else {
            Err(Failure::Step(format!("`{command}` was refused for another reason than {why:?}")))
        }
    }

    /// As [`run`](Self::run), as soon as the command prints `expected`: for what follows within a moment.
    pub fn run_until(&self, command: &str, expected: &str) -> Result<String, Failure> {
        wait_until(&format!("`{command}` to show {expected}"), Duration::from_secs(30), || {
            let output = self.shell(command).output();
            Ok(output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(expected)).then_some(()))
        })?;
        self.run(command)
    }

    /// Shows how a variable gets what a command prints, runs that, and sets it. What it is, is not shown.
    pub fn assign(&self, name: &str, command: &str) -> Result<(), Failure> {
        println!("\n{} {}", self.styled("1;32", "$"), self.styled("1", &format!("{name}=$({command})")));
        self.set(name, self.quietly(command)?.trim());
        Ok(())
    }

    /// The variables that commands have beside those of the process, as lines for a shell.
    pub fn exports(&self) -> Vec<String> {
        self.variables.borrow().iter().map(|(name, value)| format!("export {name}={value}")).collect()
    }

    /// Runs a command without showing it.
    pub fn quietly(&self, command: &str) -> Result<String, Failure> {
        let output = self.shell(command).output().map_err(Failure::io(format!("run `{command}`")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failure::Step(format!("`{command}` failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }

    fn play(&self, command: &str) -> Result<Output, Failure> {
        println!("\n{} {}", self.styled("1;32", "$"), self.styled("1", command));
        let output = self.shell(command).output().map_err(Failure::io(format!("run `{command}`")))?;
        let mut out = io::stdout().lock();
        let printed = out.write_all(&output.stdout).and_then(|()| out.write_all(&output.stderr));
        printed.map_err(Failure::io("print"))?;
        Ok(output)
    }

    fn shell(&self, command: &str) -> Command {
        let mut path = vec![self.programs.clone()];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(repository())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PATH", env::join_paths(path).unwrap_or_default());
        for person in PEOPLE {
            shell.env(person, self.kubeconfig_of(person));
        }
        shell.envs(self.variables.borrow().iter());
        shell
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where cargo put the demo, and so the operator beside it.
pub fn built_programs() -> Result<PathBuf, Failure> {
    let demo = env::current_exe().map_err(Failure::io("find the demo's own program"))?;
    Ok(demo.parent().map(Path::to_path_buf).unwrap_or_default())
}
