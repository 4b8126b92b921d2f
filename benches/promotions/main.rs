//! How long a promotion takes, and what it writes.
//!
//! On one control plane, with a great many environments and revisions there already: the operator carries out
//! promotions that a client creates, one at a time and many at once. Then, with the operator stopped, a raw client makes
//! the very same writes ([`script`]) for as many other environments. Both are timed by the same watcher ([`watcher`]):
//! from the create request until the promotion is seen `ReadyForDeploy`. What was asked of the server is read from its
//! audit log ([`support::audit`]).
//!
//! `cargo bench --bench promotions -- --help` says what can be chosen. docs/performance.md says what was measured.

#[path = "../support/mod.rs"]
mod support;

mod course;
mod fleet;
mod report;
mod script;
mod share;
mod watcher;

use clap::Parser;
use environment_manager::api::Promotion;
use kube::Client;

use crate::{
    course::{Clients, Course, Job},
    fleet::{Fleet, Target},
    report::{Measured, Run},
    script::Known,
    support::{
        Result,
        audit::{Audit, Tally},
        cluster::Cluster,
        report as files,
    },
};

/// Measures promotions against a raw client that makes the same writes.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many environments are there
    #[arg(long, default_value_t = 1000)]
    environments: usize,
    /// How many revisions are there, in all
    #[arg(long, default_value_t = 5000)]
    revisions: usize,
    /// How many projects they are spread over
    #[arg(long, default_value_t = 10)]
    projects: usize,
    /// How many promotions are made one at a time
    #[arg(long, default_value_t = 100)]
    one_by_one: usize,
    /// How many promotions are made at once
    #[arg(long, default_value_t = 100)]
    at_once: usize,
    /// How many promotions the raw client works on at a time when many are made at once; the operator's default
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// 120 environments, 600 revisions and 20 promotions, to see whether it works at all
    #[arg(long)]
    quick: bool,
    /// More flags for `environment-manager run`, separated by spaces
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    operator_flags: String,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Promotions that nobody times, before each part: connections are there, and code paths warm.
const WARM_UP: usize = 5;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.environments, arguments.revisions, arguments.projects) = (120, 600, 4);
        (arguments.one_by_one, arguments.at_once) = (20, 20);
    }
    let run = run(&arguments).await?;
    print!("{run}");
    files::write("promotions", &[run.json()])
}

async fn run(arguments: &Arguments) -> Result<Run> {
    let cluster = Cluster::start()?;
    let admin = cluster.admin().await?;
    let mut audit = Audit::of(&cluster.plane.audit_log());
    let flags: Vec<&str> = arguments.operator_flags.split_whitespace().collect();
    let fleet = Fleet::new(arguments.projects, arguments.environments, arguments.revisions);
    let mut operator = fleet.prepare(&cluster, &admin, &mut audit, &flags).await?;
    let memory_at_rest = operator.memory()?.now;

    let mut targets = fleet.targets();
    let counts = [WARM_UP, arguments.one_by_one, arguments.at_once];
    if targets.len() < 2 * counts.iter().sum::<usize>() {
        return Err("there are not enough environments for so many promotions, each into another one".into());
    }
    let mut take = |count: usize| -> Vec<Target> { targets.by_ref().take(count).collect() };
    let [warm_up, one_by_one, at_once] = counts.map(&mut take);
    let [raw_warm_up, raw_one_by_one, raw_at_once] = counts.map(&mut take);

    // The operator makes the writes itself, so the client's turns do not matter.
    let clients = Clients::new(admin.clone(), cluster.twin().await?, arguments.at_once).await?;
    let pids = [cluster.plane.pids(), vec![operator.pid()]].concat();
    course::one_by_one(&clients, jobs("warm-up", &warm_up), &pids).await?;
    Tally::of(audit.until_quiet()?);
    let timed = course::one_by_one(&clients, jobs("single", &one_by_one), &pids).await?;
    let one_by_one = measured(timed, &mut audit)?;
    let timed = course::at_once(&clients, jobs("many", &at_once), &pids).await?;
    let at_once = measured(timed, &mut audit)?;
    let memory = operator.memory()?;
    operator.stop()?;
    audit.until_quiet()?;

    let clients = Clients::new(admin.clone(), cluster.twin().await?, arguments.in_flight).await?;
    let pids = cluster.plane.pids();
    course::one_by_one(&clients, scripted(&admin, "raw-warm-up", &raw_warm_up).await?, &pids).await?;
    let scripts = scripted(&admin, "raw-single", &raw_one_by_one).await?;
    audit.until_quiet()?;
    let raw_one_by_one = course::one_by_one(&clients, scripts, &pids).await?;
    let scripts = scripted(&admin, "raw-many", &raw_at_once).await?;
    audit.until_quiet()?;
    let raw_at_once = course::at_once(&clients, scripts, &pids).await?;

    Ok(Run {
        environments: arguments.environments,
        revisions: fleet.revisions(),
        projects: arguments.projects,
        in_flight: arguments.in_flight,
        one_by_one,
        at_once,
        raw_one_by_one,
        raw_at_once,
        memory_at_rest,
        memory,
    })
}

/// What was timed, with what the operator asked for meanwhile and until it came to rest.
fn measured(course: Course, audit: &mut Audit) -> Result<Measured> {
    let requests = Tally::of(audit.until_quiet()?);
    Ok(Measured { course, requests })
}

/// Promotions that the operator carries out.
fn jobs(label: &str, targets: &[Target]) -> Vec<Job> {
    let job = |target: &Target| Job { promotion: target.promotion(label), script: vec![] };
    targets.iter().map(job).collect()
}

/// Promotions that the raw client carries out.
async fn scripted(client: &Client, label: &str, targets: &[Target]) -> Result<Vec<Job>> {
    let mut known = Known::default();
    let mut jobs = vec![];
    for target in targets {
        known.learn(client, &target.project).await?;
        let promotion: Promotion = target.promotion(label);
        jobs.push(Job { script: script::of(&known, &promotion)?, promotion });
    }
    Ok(jobs)
}
