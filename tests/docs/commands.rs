//! Every command in the documentation exists, with its subcommand, its long flags and the files that it names.

use std::{
    collections::HashMap,
    process::{Command, Stdio},
};

use devcluster::Toolbox;

use crate::markdown::{blocks, root};

/// Programs that need no further check: they come with every machine that can build this.
const KNOWN: [&str; 4] = ["cd", "curl", "docker", "export"];

/// One command of a console block.
struct Typed {
    place: String,
    words: Vec<String>,
}

/// The commands of all console blocks. A command begins with `$ `; a backslash at the end of a line joins it with the
/// next one; anything else is output.
fn typed() -> Vec<Typed> {
    let mut typed = vec![];
    for block in blocks().into_iter().filter(|block| block.language == "console") {
        let joined = block.text.replace("\\\n", " ");
        let commands: Vec<&str> = joined.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        assert!(!commands.is_empty(), "{}: a console block without a command; is it text?", block.place);
        for command in commands {
            let words = words(command);
            let parts = words.split(|word| matches!(word.as_str(), "|" | "&&"));
            typed.extend(parts.map(|part| Typed { place: block.place.clone(), words: part.to_vec() }));
        }
    }
    typed
}

/// Splits as a shell does, as far as the documentation needs it: quotes keep words together, `#` begins a comment.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![];
    let (mut word, mut quote, mut started) = (String::new(), None, false);
    for character in command.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => (quote, started) = (Some(character), true),
            (None, '#') if !started => break,
            (None, ' ') => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            _ => {
                word.push(character);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

/// The long flags of a command line, without their values.
fn flags(words: &[String]) -> impl Iterator<Item = &str> {
    let flags = words.iter().take_while(|word| *word != "--").filter(|word| word.starts_with("--"));
    flags.map(|flag| flag.split('=').next().unwrap_or(flag))
}

/// The help texts of programs, each asked for once.
#[derive(Default)]
struct Helps(HashMap<Vec<String>, Option<String>>);

impl Helps {
    /// What `program args…` prints; nothing if it fails.
    fn of(&mut self, program: &str, args: &[&str]) -> Option<&str> {
        let key: Vec<String> = [program].iter().chain(args).map(ToString::to_string).collect();
        let help = self.0.entry(key).or_insert_with(|| {
            let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        });
        help.as_deref()
    }
}

/// Whether a help text lists this flag, and not only a longer one.
fn lists(help: &str, flag: &str) -> bool {
    help.match_indices(flag).any(|(at, _)| {
        let next = help[at + flag.len()..].chars().next().unwrap_or(' ');
        !next.is_alphanumeric() && next != '-'
    })
}

#[test]
fn every_command_exists() {
    let kubectl = Toolbox::from_env().unwrap().kubectl().unwrap().display().to_string();
    let installer = Toolbox::from_env().unwrap().helm().unwrap().display().to_string();
    let bao = Toolbox::from_env().unwrap().openbao().unwrap().display().to_string();
    let (operator, plugin) = (env!("CARGO_BIN_EXE_environment-manager"), env!("CARGO_BIN_EXE_kubectl-penv"));
    let demo = std::fs::read_to_string(root().join("devcluster/src/bin/demo/main.rs")).unwrap();
    let mut helps = Helps::default();
    let mut wrong = vec![];
    for Typed { place, words } in typed() {
        let line = words.join(" ");
        let mut complain = |what: &str| wrong.push(format!("{place}: {what}: {line}"));
        let Some((program, args)) = words.split_first() else { continue };
        let program = program.rsplit('/').next().unwrap_or(program);
        let verb = args.first().map_or("", String::as_str);
        let second = args.get(1).map_or("", String::as_str);
        let help = match (program, verb) {
            ("kubectl", "penv") => helps.of(plugin, &[second, "--help"]).map(ToOwned::to_owned),
            // Some of its commands have commands of their own (`create token`).
            ("kubectl", "auth" | "config" | "create" | "rollout") if !second.starts_with('-') => {
                kubectl_help(&mut helps, &kubectl, &[verb, second])
            }
            ("kubectl", _) => kubectl_help(&mut helps, &kubectl, &[verb]),
            ("bao", "auth" | "kv" | "policy" | "secrets") => {
                helps.of(&bao, &[verb, second, "-help"]).map(ToOwned::to_owned)
            }
            ("bao", _) => helps.of(&bao, &[verb, "-help"]).map(ToOwned::to_owned),
            ("helm", _) => helps.of(&installer, &[verb, "--help"]).map(ToOwned::to_owned),
            ("environment-manager", _) => helps.of(operator, &[verb, "--help"]).map(ToOwned::to_owned),
            ("cargo", "build" | "test" | "bench" | "install") => {
                helps.of("cargo", &[verb, "--help"]).map(ToOwned::to_owned)
            }
            // Its help would build another package; its arguments stand in one struct.
            ("cargo", "demo") => Some(
                ["--keep", "--kubeconfig"]
                    .into_iter()
                    .filter(|flag| demo.contains(&format!("{}:", flag.trim_start_matches('-'))))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            _ if KNOWN.contains(&program) => continue,
            _ if program.contains('=') => continue,
            _ => None,
        };
        let Some(help) = help else {
            complain("no such command");
            continue;
        };
        for flag in flags(args).filter(|flag| !lists(&help, flag)) {
            complain(&format!("no flag {flag}"));
        }
        let is_file = |word: &&String| {
            ["crds", "deploy"].contains(&word.as_str())
                || ["examples/", "charts/", "docs/"].iter().any(|directory| word.starts_with(directory))
        };
        for file in args.iter().filter(is_file) {
            if !root().join(file).exists() {
                complain(&format!("no file {file}"));
            }
        }
    }
    assert!(wrong.is_empty(), "commands that do not work:\n{}", wrong.join("\n"));
}

/// The help of a command of kubectl, with the flags that all of them have.
fn kubectl_help(helps: &mut Helps, kubectl: &str, command: &[&str]) -> Option<String> {
    let all = helps.of(kubectl, &["options"])?.to_owned();
    let own = helps.of(kubectl, &[command, &["--help"]].concat())?;
    // For an unknown command it prints the help of all, and succeeds.
    own.contains(&format!("kubectl {}", command.join(" "))).then(|| format!("{own}{all}"))
}

#[test]
fn the_demo_is_an_alias_of_cargo() {
    let config = std::fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    assert!(config.contains("demo = "), "{config}");
}

#[test]
fn a_command_line_is_taken_apart_as_a_shell_does() {
    assert_eq!(
        words(r#"kubectl patch x --patch '{"a": 1}' # why"#),
        ["kubectl", "patch", "x", "--patch", r#"{"a": 1}"#]
    );
    assert!(lists("      --keep   Leave it", "--keep") && !lists("--keep-logs", "--keep"));
}
