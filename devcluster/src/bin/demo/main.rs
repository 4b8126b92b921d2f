//! `cargo demo`: the life of a no-code project's environments, on a real control plane, step by step.
//!
//! Every step is a command that a user would type, run as it is shown, with its real output. Whatever fails ends the
//! demo with exit code 1 and says what failed.

use std::{io, path::PathBuf, process::ExitCode, thread};

use clap::Parser;
use devcluster::{ControlPlane, Options, Toolbox};

mod operator;
mod promotions;
mod secrets;
mod stage;
mod story;

use operator::Operator;
use stage::Stage;

/// Shows Environment Manager at work: a local control plane, the operator, and a project's environments.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo demo")]
struct Arguments {
    /// Leave everything running at the end, until Ctrl-C, and print the KUBECONFIG to use
    #[arg(long)]
    keep: bool,
    /// Use the cluster of this kubeconfig instead of a local control plane. The demo installs the chart
    /// there, and makes and deletes the project pf-872
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Why the demo ended early.
#[derive(Debug)]
enum Failure {
    Cluster(devcluster::Error),
    Io(String, io::Error),
    Step(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster(error) => error.fmt(f),
            Self::Io(what, error) => write!(f, "cannot {what}: {error}"),
            Self::Step(message) => f.write_str(message),
        }
    }
}

impl From<devcluster::Error> for Failure {
    fn from(error: devcluster::Error) -> Self {
        Self::Cluster(error)
    }
}

impl Failure {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io(what, error)
    }
}

fn main() -> ExitCode {
    match demo(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nThe demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &Arguments) -> Result<(), Failure> {
    operator::build()?;
    let local = match &arguments.kubeconfig {
        Some(_) => None,
        None => Some(ControlPlane::start(&Options::default())?),
    };
    let kubeconfig = match (&arguments.kubeconfig, &local) {
        (Some(kubeconfig), _) => {
            kubeconfig.canonicalize().map_err(Failure::io(format!("read {}", kubeconfig.display())))?
        }
        (None, Some(cluster)) => cluster.kubeconfig_for_admin(),
        (None, None) => return Err(Failure::Step("there is no cluster".to_owned())),
    };
    let files = local.as_ref().map_or_else(std::env::temp_dir, |cluster| cluster.dir().to_path_buf());
    let stage = Stage::new(kubeconfig, &Toolbox::from_env()?, &files)?;
    if let Some(cluster) = &local {
        stage.chapter(
            "A Kubernetes control plane",
            "etcd, kube-apiserver and kube-controller-manager run as plain processes on loopback.",
        );
        stage.note(&format!(
            "The API server is {}; its audit log is {}",
            cluster.server_url(),
            cluster.audit_log().display()
        ));
    }
    let operator = story::install(&stage)?;
    let log = operator.log().to_owned();
    let told = story::tell(&stage).and_then(|()| match &local {
        Some(cluster) => secrets::tell(&stage, cluster, operator).map(|(operator, bao)| (operator, Some(bao))),
        // A cluster that is not the demo's own has no OpenBao of ours.
        None => Ok((operator, None)),
    });
    if let (Err(_), Some(cluster)) = (&told, &local) {
        cluster.keep_logs();
        // The stage takes its files along.
        let kept = cluster.dir().join("logs/environment-manager.log");
        let _ = std::fs::copy(&log, &kept);
        eprintln!("\nLogs: {}", cluster.dir().join("logs").display());
    }
    let (operator, _bao) = told?;
    end(arguments, &stage, &operator)
}

fn end(arguments: &Arguments, stage: &Stage, operator: &Operator) -> Result<(), Failure> {
    if arguments.keep {
        stage.chapter("It goes on", "Everything keeps running until Ctrl-C. In another terminal:");
        println!("export KUBECONFIG={}", stage.kubeconfig().display());
        println!("export PATH={}:$PATH", stage.programs().display());
        for person in stage::PEOPLE {
            println!("export {person}={}", stage.kubeconfig_of(person).display());
        }
        // Their home is where a token helper of bao would look.
        for line in stage.exports().iter().filter(|line| line.starts_with("export BAO_")) {
            println!("{line}");
        }
        println!("kubectl get platform --namespace pf-872");
        println!("KUBECONFIG=$cleo kubectl penv promote production --from staging --namespace pf-872");
        println!("kubectl penv history production --namespace pf-872");
        println!("# the operator's log: {}", operator.log().display());
        println!("# its metrics: {}/metrics", operator.url());
        loop {
            thread::park();
        }
    }
    if arguments.kubeconfig.is_some() {
        story::clean_up(stage)?;
    }
    stage.chapter("Done", "Run it with --keep to try it by hand.");
    Ok(())
}
