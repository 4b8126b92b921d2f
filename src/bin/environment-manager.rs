//! The operator's binary.

use std::{
    error::Error,
    io::{self, Write as _},
    num::NonZero,
    process::ExitCode,
    thread,
};

use clap::{Parser, Subcommand};
use environment_manager::{
    api,
    config::RunConfig,
    controller::{self, rights},
    domain::settings::Settings,
    telemetry,
};
use tokio::runtime;

/// Manages the environments of a no-code platform, their versions and their configuration, on Kubernetes.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// These comments are the text of `--help`, where backticks would be noise.
#[allow(clippy::doc_markdown)]
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator until SIGTERM or Ctrl-C
    Run(Box<RunConfig>),
    /// Print the custom resource definitions, for kubectl apply --server-side -f -
    Crds,
    /// Print the operator's ServiceAccount and the rights that it needs, for kubectl apply -f -
    Rbac(RbacArguments),
}

#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
struct RbacArguments {
    /// The namespace that the operator runs in
    #[arg(long, default_value = "environment-manager")]
    namespace: String,
    /// A ClusterRole that environments may bind in their namespace, as given to run; repeat it or separate by commas
    #[arg(long = "allowed-cluster-role", value_delimiter = ',', default_value = "view")]
    allowed_cluster_roles: Vec<String>,
}

/// A usage error ends with 2 (by clap), any other error with 1.
fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(config) => run(*config),
        Command::Crds => print(&api::crds_yaml()),
        Command::Rbac(arguments) => print(&rbac(arguments)),
    }
}

/// A reader that has seen enough is no error.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn rbac(arguments: RbacArguments) -> String {
    let allowed_cluster_roles = arguments.allowed_cluster_roles.into_iter().collect();
    let settings = Settings { allowed_cluster_roles, ..Settings::default() };
    api::crd::stream(&rights::manifests(&arguments.namespace, &settings))
}

/// Errors are logged, and so reach a log collector in its format.
fn run(config: RunConfig) -> ExitCode {
    telemetry::init(config.log_format, config.log_filter());
    match try_run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(config: RunConfig) -> Result<(), Box<dyn Error>> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(worker_threads()).enable_all().build()?;
    Ok(runtime.block_on(controller::run(config))?)
}

/// As many as there are processors (or the container may use), but no more than four: the work is waiting for the API
/// server, and each thread costs memory.
fn worker_threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(4)
}
