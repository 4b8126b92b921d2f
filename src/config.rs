//! The configuration of `environment-manager run`: flags, and an environment variable for each.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use tracing_subscriber::EnvFilter;

use crate::{
    controller::run_loop::Limits,
    domain::{
        settings::{Settings, UrlTemplate},
        vault::VaultSettings,
    },
    kube_ext::{client::ClusterAccess, leader::Terms},
    telemetry::LogFormat,
};

mod gateway;
pub mod vault;

pub use gateway::NamedGateway;
pub use vault::VaultConfig;

/// What `run` can be told.
///
/// Every flag has an environment variable, which `--help` names. A flag wins over its variable. Durations are written
/// as `90s`, `5m` or `1h30m`.
// These comments are the text of `--help`, where backticks would be noise.
#[allow(clippy::doc_markdown)]
#[derive(Args, Clone, Debug)]
pub struct RunConfig {
    /// Kubeconfig file to connect with. Without it: the file named by KUBECONFIG, else ~/.kube/config, else the
    /// service account of the pod this runs in
    #[arg(long, env = "ENVIRONMENT_MANAGER_KUBECONFIG", value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig to use. Without it: the current context
    #[arg(long, env = "ENVIRONMENT_MANAGER_CONTEXT", value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,

    /// Namespace that the operator runs in: its Lease is there. Without it: that of the kubeconfig's context, or of the
    /// pod this runs in
    #[arg(long, env = "ENVIRONMENT_MANAGER_NAMESPACE", value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Option<String>,

    /// How many objects of a kind are worked on at a time. More makes a large change spread faster and puts more load
    /// on the API server
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_CONCURRENCY",
        value_name = "COUNT",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help_heading = "Cluster"
    )]
    pub concurrency: u16,

    /// After how long the work on one object is given up, to be tried again later
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_RECONCILE_TIMEOUT",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration,
        help_heading = "Cluster"
    )]
    pub reconcile_timeout: Duration,

    /// URL of an environment, shown in its status. Placeholders: {project_id} and {environment}, and {project} for
    /// the project's namespace. Two environments must not get the same URL, so {environment} and one of the other two
    /// are required
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_URL_TEMPLATE",
        value_name = "URL",
        default_value = "https://preview.puraify.app/{project_id}/{environment}",
        help_heading = "Environments"
    )]
    pub url_template: UrlTemplate,

    /// ClusterRole that an environment may give to people in its namespace. May be repeated, or a list with commas.
    /// Keep it short: whoever may write an environment can have any of them there
    #[arg(
        long = "allowed-cluster-role",
        env = "ENVIRONMENT_MANAGER_ALLOWED_CLUSTER_ROLE",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "view",
        help_heading = "Environments"
    )]
    pub allowed_cluster_roles: Vec<String>,

    /// Gateway from whose namespace an environment may let traffic in, by the name that environments use for it. May
    /// be repeated, or a list with commas. None by default
    #[arg(
        long = "gateway",
        env = "ENVIRONMENT_MANAGER_GATEWAY",
        value_name = "NAME=NAMESPACE",
        value_delimiter = ',',
        help_heading = "Environments"
    )]
    pub gateways: Vec<NamedGateway>,

    /// Vault
    #[command(flatten)]
    pub vault: VaultConfig,

    /// Name of this process in the Lease, for people. Without it: the host's name. What tells it from all others is added
    #[arg(long, env = "ENVIRONMENT_MANAGER_IDENTITY", value_name = "NAME", help_heading = "Process")]
    pub identity: Option<String>,

    /// For how long a leader that is not heard of keeps others from taking over, in whole seconds: 2s to 10m. It stops
    /// itself when it cannot renew its Lease for two thirds of it
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_LEASE_DURATION",
        value_name = "DURATION",
        default_value = "6s",
        value_parser = lease_duration,
        help_heading = "Process"
    )]
    pub lease_duration: Duration,

    /// Address for /healthz, /readyz and /metrics
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8080",
        help_heading = "Process"
    )]
    pub listen: SocketAddr,

    /// For how long work under way may go on after SIGTERM or Ctrl-C. Keep it below the pod's
    /// terminationGracePeriodSeconds, which is 30 by default
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        default_value = "25s",
        value_parser = duration,
        help_heading = "Process"
    )]
    pub shutdown_timeout: Duration,

    /// How log lines look
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value_t = LogFormat::Human,
        help_heading = "Process"
    )]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug or trace, also for a part only, as in info,environment_manager=debug
    #[arg(
        long,
        env = "ENVIRONMENT_MANAGER_LOG_LEVEL",
        value_name = "FILTER",
        // kube logs each failed attempt of a watch; we log the same now and then, in `kube_ext::watch`.
        default_value = "info,kube_runtime=error",
        value_parser = log_filter,
        help_heading = "Process"
    )]
    pub log_level: String,
}

impl RunConfig {
    /// Which cluster to speak to, as whom.
    #[must_use]
    pub fn cluster_access(&self) -> ClusterAccess {
        ClusterAccess { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() }
    }

    /// The bounds of each controller's run loop.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { concurrency: self.concurrency.into(), timeout: self.reconcile_timeout }
    }

    /// How often the Lease is looked at, and for how long it holds.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms::of(self.lease_duration)
    }

    /// The platform team's decisions about all environments. Those about Vault are made when it is known what is installed.
    #[must_use]
    pub fn settings(&self, vault: Option<VaultSettings>) -> Settings {
        Settings {
            url_template: self.url_template.clone(),
            allowed_cluster_roles: self.allowed_cluster_roles.iter().filter(|role| !role.is_empty()).cloned().collect(),
            gateways: self.gateways.iter().map(|gateway| (gateway.name.clone(), gateway.namespace.clone())).collect(),
            vault,
            abandon_vault: self.vault.vault_abandon,
        }
    }

    /// What this process is called in the Lease: no other process ever has the same.
    #[must_use]
    pub fn unique_identity(&self) -> String {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
        let name = self.identity.clone().or_else(|| host().ok()).filter(|name| !name.is_empty());
        let random = RandomState::new().hash_one(std::process::id());
        format!("{}_{random:016x}", name.as_deref().unwrap_or("environment-manager"))
    }

    /// The filter for [`telemetry::init`](crate::telemetry::init).
    #[must_use]
    pub fn log_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.log_level)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|parsed| Duration::try_from(parsed).ok());
    parsed.filter(|duration| !duration.is_zero()).ok_or_else(|| "expected a duration such as 90s or 5m".into())
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let parsed = duration(text)?;
    let fits = parsed.subsec_nanos() == 0 && (2..=600).contains(&parsed.as_secs());
    if fits { Ok(parsed) } else { Err("expected whole seconds, 2s to 10m".into()) }
}

fn log_filter(text: &str) -> Result<String, String> {
    // A bare word that is no level would be taken for a part of the program, and silence all others.
    let known = ["error", "warn", "info", "debug", "trace", "off"];
    let unknown = |directive: &&str| !directive.contains('=') && !known.contains(&directive.to_lowercase().as_str());
    if let Some(word) = text.split(',').map(str::trim).find(unknown) {
        return Err(format!("{word:?} is no level: use one of {}, or part=level", known.join(", ")));
    }
    EnvFilter::try_new(text).map(|_| text.into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Run {
        #[command(flatten)]
        config: RunConfig,
    }

    fn parse(arguments: &[&str]) -> Result<RunConfig, String> {
        let run = Run::try_parse_from(["run"].iter().chain(arguments));
        run.map(|run| run.config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_documented() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.limits().concurrency, 16);
        assert_eq!(config.reconcile_timeout, Duration::from_mins(1));
        assert_eq!(config.allowed_cluster_roles, ["view"]);
        assert_eq!(config.gateways, []);
        assert_eq!(config.listen.port(), 8080);
    }

    #[test]
    fn lists_take_commas_and_repetition() {
        let config = parse(&["--allowed-cluster-role", "view,edit", "--allowed-cluster-role=logs"]).unwrap();
        assert_eq!(config.allowed_cluster_roles, ["view", "edit", "logs"]);
        let config = parse(&["--gateway", "public=ingress,internal=mesh"]).unwrap();
        let gateways: Vec<_> = config.gateways.iter().map(|gateway| (&*gateway.name, &*gateway.namespace)).collect();
        assert_eq!(gateways, [("public", "ingress"), ("internal", "mesh")]);
    }

    #[test]
    fn mistakes_are_refused_with_what_is_wrong() {
        let refused = |arguments: &[&str], why: &str| {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        refused(&["--concurrency", "0"], "0 is not in 1..=1024");
        refused(&["--reconcile-timeout", "0s"], "such as 90s");
        refused(&["--shutdown-timeout=-5s"], "such as 90s");
        refused(&["--lease-duration", "500ms"], "2s to 10m");
        refused(&["--gateway", "public"], "NAME=NAMESPACE");
        refused(&["--log-level", "chatty=loud"], "invalid");
        refused(&["--log-level", "verbose"], "no level");
        refused(&["--url-template", "https://example.com/{env}"], "{env}");
    }

    #[test]
    fn every_flag_is_explained_and_has_its_variable() {
        for argument in Run::command().get_arguments() {
            let name = argument.get_long().unwrap();
            let variable = format!("ENVIRONMENT_MANAGER_{}", name.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(&*variable));
            assert!(argument.get_help().is_some(), "--{name} is not explained");
        }
    }
}
