//! The operator's binary.

use std::{error::Error, num::NonZero, process::ExitCode, thread};

use clap::{Parser, Subcommand};
use environment_manager::{config::RunConfig, controller, telemetry};
use tokio::runtime;

/// Manages the environments of a no-code platform, their versions and their configuration, on Kubernetes.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator until SIGTERM or Ctrl-C
    Run(Box<RunConfig>),
}

/// A usage error ends with 2 (by clap), any other error with 1.
fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(config) => run(*config),
    }
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
