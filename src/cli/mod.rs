//! The kubectl plugin `kubectl penv`: what builders do, in their words, with the documents of the JSON contract.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::{ListParams, PartialObjectMeta},
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{api::LABEL_PROJECT_ID, kube_ext::errors::describe};

mod confirm;
mod create;
mod diff;
mod history;
mod person;
mod promote;

/// Environments of a no-code platform, from the command line.
#[derive(Debug, Parser)]
#[command(name = "kubectl-penv", bin_name = "kubectl penv", version, arg_required_else_help = true)]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an environment from a request of the JSON contract, wait until it is active, and answer
    Create(create::Create),
    /// Ask for a promotion into an environment, and follow it until it has moved
    Promote(promote::Promote),
    /// Go back to an earlier revision of an environment, version and configuration together
    Rollback(promote::Rollback),
    /// Follow a promotion until it has moved, and answer
    Follow(promote::Follow),
    /// Say yes to the plan of a promotion
    Confirm(confirm::Confirm),
    /// Show what changes from one version to another
    Diff(diff::Diff),
    /// Show an environment's history, newest first, and whether it is whole
    History(history::History),
}

/// Where the cluster and the project are.
#[derive(Args, Debug)]
struct Access {
    /// Kubeconfig file; without it, as kubectl does
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    context: Option<String>,
    /// The project's namespace
    #[arg(long, short, global = true)]
    namespace: Option<String>,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// The documents of the JSON contract
    Json,
}

/// Why a command did not succeed, in a sentence for the person who typed it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    fn of(what: &str) -> impl FnOnce(kube::Error) -> Self {
        move |error| Self(format!("cannot {what}: {}", describe(&error)))
    }
}

impl Plugin {
    /// Carries the command out: 0 on success, 1 on failure (2 is a usage error, by clap).
    pub async fn run(self) -> ExitCode {
        let result = match &self.command {
            Command::Create(create) => create.run(&self.access).await,
            Command::Promote(promote) => promote.run(&self.access).await,
            Command::Rollback(rollback) => rollback.run(&self.access).await,
            Command::Follow(follow) => follow.run(&self.access).await,
            Command::Confirm(confirm) => confirm.run(&self.access).await,
            Command::Diff(diff) => diff.run(&self.access).await,
            Command::History(history) => history.run(&self.access).await,
        };
        match result {
            Ok(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                eprintln!("error: {failure}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Without what would steer a terminal: an actor is somebody's word.
fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

impl Access {
    async fn client(&self) -> Result<(Client, String), Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match &self.kubeconfig {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|error| Failure::new(error.to_string()))?;
                Config::from_custom_kubeconfig(kubeconfig, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.map_err(|error| Failure::new(format!("cannot read the kubeconfig: {error}")))?;
        let default_namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(Failure::of("connect to the cluster"))?;
        Ok((client, self.namespace.clone().unwrap_or(default_namespace)))
    }

    /// The namespace of the project with this id: the one that was named, or the one that carries the id.
    async fn project(&self, client: &Client, project_id: &str) -> Result<String, Failure> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let carrying = ListParams::default().labels(&format!("{LABEL_PROJECT_ID}={project_id}"));
        let found = namespaces.list_metadata(&carrying).await;
        let found = found.map_err(Failure::of("look for the project's namespace (name it with --namespace)"))?;
        let names: Vec<String> =
            found.items.into_iter().filter_map(|found: PartialObjectMeta<Namespace>| found.metadata.name).collect();
        match names.as_slice() {
            [namespace] => Ok(namespace.clone()),
            [] => Err(Failure::new(format!(
                "no namespace carries the project id {project_id:?} (label {LABEL_PROJECT_ID}); ask your platform team, or name the namespace with --namespace"
            ))),
            several => Err(Failure::new(format!(
                "several namespaces carry the project id {project_id:?}: {}; choose one with --namespace",
                several.join(", ")
            ))),
        }
    }
}
