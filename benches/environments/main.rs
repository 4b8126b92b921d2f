//! How close the operator comes to the limit of its API server.
//!
//! For each number of environments a control plane of its own: the operator brings all of them to Ready, rests,
//! restarts, and follows single changes. Then a raw client ([`twin`]) makes the very same writes for as many other
//! environments on the same server. What was asked of the server is read from its audit log ([`support::audit`]).
//!
//! `cargo bench --bench environments -- --help` says what can be chosen. docs/performance.md says what was measured.

#[path = "../support/mod.rs"]
mod support;

mod change;
mod cpu;
mod fleet;
mod report;
mod script;
mod twin;

use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;

use crate::{
    cpu::Cpu,
    report::{Rest, Restart, Run},
    support::{
        Result,
        audit::{Audit, Tally},
        cluster::Cluster,
        operator::Operator,
        usage::cpu,
    },
};

/// Measures the operator against a raw client that makes the same writes.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many environments, one run for each number
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    sizes: Vec<usize>,
    /// Also run with 10,000 environments
    #[arg(long, env = "BENCH_TEN_THOUSAND")]
    ten_thousand: bool,
    /// Runs per number; each on a control plane of its own
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Look for writes at rest and after the restart for a shorter time, and change fewer variables
    #[arg(long)]
    quick: bool,
    /// How many environments the raw client works on at a time; the fastest one counts
    #[arg(long, value_delimiter = ',', default_value = "8,16,32")]
    in_flight: Vec<usize>,
    /// More flags for `environment-manager run`, separated by spaces
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    operator_flags: String,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn rest(&self) -> Duration {
        Duration::from_secs(if self.quick { 10 } else { 60 })
    }

    fn changes(&self) -> usize {
        if self.quick { 15 } else { 50 }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.ten_thousand {
        arguments.sizes.push(10_000);
    }
    let mut runs = vec![];
    for environments in arguments.sizes.clone() {
        for _ in 0..arguments.repeat {
            let run = run(environments, &arguments).await?;
            print!("{run}");
            runs.push(run);
        }
    }
    report::finish(&runs)
}

async fn run(environments: usize, arguments: &Arguments) -> Result<Run> {
    let cluster = Cluster::start()?;
    let client = cluster.admin().await?;
    twin::warm_up(&cluster, &client).await?;
    let mut audit = Audit::of(&cluster.plane.audit_log());

    fleet::create(&cluster, &client, "operated", environments).await?;
    audit.until_quiet()?;
    let flags: Vec<&str> = arguments.operator_flags.split_whitespace().collect();
    let servers = Cpu::of(&cluster.plane.pids());
    let started = Timestamp::now();
    let mut operator = Operator::start(&cluster, &flags)?;
    let mut seen = Tally::default();
    // Each environment's last two writes.
    let last = [("patch platformenvironments/status", environments), ("create events", environments)];
    let finished = seen.until(&mut audit, &last)?;
    let wall = Duration::try_from(finished.duration_since(started)).unwrap_or_default();
    let operator_cpu = cpu(operator.pid())?;
    let servers_cpu = servers.spent()?;
    cluster.expect_ready(&client, "operated", environments).await?;
    let peak_memory = operator.memory()?.peak;

    seen.add(audit.until_quiet()?);
    let rest = rest(&mut audit, &operator, arguments.rest())?;
    let restart = restart(&cluster, &mut audit, &mut operator, &flags, arguments)?;
    let changes = change::measure(&client, "operated", environments, arguments.changes()).await?;
    operator.stop()?;

    audit.until_quiet()?;
    let twins = twin::measure(&cluster, &client, &mut audit, environments, &arguments.in_flight).await?;
    Ok(Run { environments, wall, operator_cpu, servers_cpu, seen, peak_memory, rest, restart, changes, twins })
}

fn rest(audit: &mut Audit, operator: &Operator, duration: Duration) -> Result<Rest> {
    std::thread::sleep(duration);
    let writes = Tally::of(audit.take()?).writes;
    Ok(Rest { duration, writes, memory: operator.memory()?.now })
}

fn restart(
    cluster: &Cluster,
    audit: &mut Audit,
    operator: &mut Operator,
    flags: &[&str],
    arguments: &Arguments,
) -> Result<Restart> {
    operator.stop()?;
    audit.until_quiet()?;
    *operator = Operator::start(cluster, flags)?;
    let synced = operator.until_ready()?;
    std::thread::sleep(arguments.rest().min(Duration::from_secs(15)));
    let Tally { writes, reads, .. } = Tally::of(audit.take()?);
    Ok(Restart { synced, writes, reads, memory: operator.memory()? })
}
