//! The operator's binary.

use std::{
    error::Error,
    io::{self, Write as _},
    num::NonZero,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
};

use clap::{Parser, Subcommand};
use environment_manager::{
    api,
    config::{RunConfig, VaultConfig, vault::SecretsOperatorKind},
    controller::{self, check::Findings},
    domain::vault::{SecretsOperator, operator_policy},
    kube_ext::client::{self, ClusterAccess},
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
    /// Print the policy that the operator needs in Vault or OpenBao, for bao policy write environment-manager -
    VaultPolicy(Box<VaultConfig>),
    /// Check what is installed, as the operator: whether the kinds are served, the rights are granted and the admission
    /// policies hold. Exits with 1 if something is missing
    Check(CheckArguments),
}

#[allow(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
struct CheckArguments {
    /// Kubeconfig file to connect with. Without it as for run
    #[arg(long, env = "ENVIRONMENT_MANAGER_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Namespace that the operator runs in. Without it as for run
    #[arg(long, env = "ENVIRONMENT_MANAGER_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// ClusterRole that environments may give to people, as for run
    #[arg(long = "allowed-cluster-role", value_name = "NAME", value_delimiter = ',', default_value = "view")]
    allowed_cluster_roles: Vec<String>,
    /// Address of Vault or OpenBao, as for run. It is not asked
    #[arg(long, env = "ENVIRONMENT_MANAGER_VAULT_ADDRESS", value_name = "URL")]
    vault_address: Option<String>,
    /// Who brings secrets into the namespaces of environments, as for run
    #[arg(long, env = "ENVIRONMENT_MANAGER_SECRETS_OPERATOR", value_name = "NAME", value_enum, default_value_t = SecretsOperatorKind::Auto)]
    secrets_operator: SecretsOperatorKind,
}

/// A usage error ends with 2 (by clap), any other error with 1.
fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(config) => run(*config),
        Command::Crds => print(&api::crds_yaml()),
        Command::VaultPolicy(config) => {
            print(&operator_policy(&config.settings(String::new(), SecretsOperator::None, true)))
        }
        Command::Check(arguments) => check(arguments),
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

/// Prints each finding as it stands, in words for people.
fn check(arguments: CheckArguments) -> ExitCode {
    match try_check(arguments) {
        Ok(findings) => {
            let line = |(what, found): &(String, Result<(), String>)| match found {
                Ok(()) => format!("ok      {what}\n"),
                Err(missing) => format!("MISSING {what}: {missing}\n"),
            };
            let printed = print(&findings.iter().map(line).collect::<String>());
            if findings.iter().all(|(_, found)| found.is_ok()) { printed } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("cannot check: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_check(arguments: CheckArguments) -> Result<Findings, Box<dyn Error>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let access = ClusterAccess { kubeconfig: arguments.kubeconfig, context: None };
        let client = client::connect(&access, Arc::default()).await?;
        let namespace = arguments.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let roles: Vec<String> = arguments.allowed_cluster_roles.into_iter().filter(|role| !role.is_empty()).collect();
        // Only which one it is matters, not where.
        let external = || SecretsOperator::ExternalSecrets(String::new(), String::new());
        let operators = match arguments.secrets_operator {
            SecretsOperatorKind::Auto => vec![external(), SecretsOperator::VaultSecrets],
            SecretsOperatorKind::None => vec![],
            SecretsOperatorKind::ExternalSecrets => vec![external()],
            SecretsOperatorKind::VaultSecrets => vec![SecretsOperator::VaultSecrets],
        };
        let vault = arguments.vault_address.map(|_| &operators[..]);
        Ok(controller::check::check(&client, &namespace, &roles, vault).await)
    })
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
