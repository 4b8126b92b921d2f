//! What the operator asks of Vault: for each environment, at each look, and while Vault is away.
//!
//! A real OpenBao beside the control plane. All environments but one are clones, each with a secret that is generated for it.
//! Requests are read from OpenBao's audit log; while it is stopped, from a listener on its port, which cuts every connection.
//!
//! `cargo bench --bench secrets -- --help` says what can be chosen. docs/performance.md says what was measured.

#![allow(dead_code, reason = "the benchmarks share their support, and none needs all of it")]

#[path = "../support/mod.rs"]
mod support;

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use devcluster::{OpenBao, wait_until};
use environment_manager::api::{ConditionStatus, Digest, PlatformEnvironment, condition::SECRETS_READY};
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};

use crate::support::{
    Result,
    cluster::{self, Cluster, NAME, PROGRAM},
    operator::Operator,
};

const PROJECT: &str = "pf-1";
/// Far more than anything takes.
const LIMIT: Duration = Duration::from_mins(15);

/// Measures what the operator asks of Vault.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many environments
    #[arg(long, default_value_t = 1000)]
    environments: usize,
    /// For how many seconds Vault is away
    #[arg(long, default_value_t = 120)]
    outage: u64,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cluster = Cluster::start()?;
    let bao = OpenBao::start(&cluster.plane)?;
    let operator = start(&cluster, &bao)?;
    let client = cluster.admin().await?;
    cluster.create_project(PROJECT)?;
    base(&cluster, &client, &bao).await?;

    let asked = requests(&bao)?;
    let began = Instant::now();
    let clones =
        (0..arguments.environments).map(|number| environment(&format!("e-{number}"), &json!({"environment": "dev"})));
    cluster::create_all(&client, clones.collect()).await?;
    until_ready(&client, arguments.environments + 1).await?;
    let made = requests(&bao)? - asked;
    println!(
        "{} environments, each a clone with a secret of its own, in {:.0?}",
        arguments.environments,
        began.elapsed()
    );
    println!("  Vault requests per environment: {:.2}", ratio(made, arguments.environments));

    let asked = requests(&bao)?;
    look(&cluster, "1")?;
    quiet(&bao)?;
    let looked = requests(&bao)? - asked;
    println!("  Vault requests per environment and look: {:.2}", ratio(looked, arguments.environments + 1));

    outage(&cluster, &client, &bao, &arguments).await?;
    let memory = operator.memory()?;
    println!("  memory: {memory:?}");
    Ok(())
}

fn start(cluster: &Cluster, bao: &OpenBao) -> Result<Operator> {
    let policy = std::process::Command::new(PROGRAM).arg("vault-policy").output()?;
    bao.admit(NAME, &String::from_utf8(policy.stdout)?)?;
    let address = bao.address();
    let upgrade = ["upgrade", NAME, "charts/environment-manager", "--namespace", NAME, "--set"];
    let settings = [format!("vault.address={address}"), "--set".to_owned(), "secretsOperator.kind=none".to_owned()];
    cluster.plane.helm()?.run(upgrade.into_iter().chain(settings.iter().map(String::as_str)))?;
    let token = cluster.plane.dir().join("vault-token");
    std::fs::write(&token, cluster.plane.service_account_token(NAME, NAME, &["vault"])?)?;
    let flags = [
        format!("--vault-address={address}"),
        format!("--vault-ca-file={}", bao.ca_file().display()),
        format!("--vault-token-file={}", token.display()),
        "--secrets-operator=none".to_owned(),
        "--vault-check-interval=24h".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let operator = Operator::start(cluster, &flags)?;
    operator.until_ready()?;
    Ok(operator)
}

/// A version, and the environment that all others are cloned from, with its secret.
async fn base(cluster: &Cluster, client: &Client, bao: &OpenBao) -> Result<()> {
    let version = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
        "metadata": {"name": "v1.0.0", "namespace": PROJECT},
        "spec": {"version": "v1.0.0", "content": {"flows": {"A": Digest::of(b"a")}}},
    });
    let kubectl = cluster.plane.kubectl();
    wait_until("the kinds", LIMIT, || Ok(kubectl.create(&version.to_string()).ok()))?;
    cluster::create_all(client, vec![environment("dev", &json!({"version": "v1.0.0"}))]).await?;
    let prefix = "jsonpath={.status.vault.prefix}";
    let prefix = wait_until("its place in Vault", LIMIT, || {
        let said = kubectl.run(["get", "penv", "dev", "--namespace", PROJECT, "--output", prefix])?;
        Ok((!said.is_empty()).then_some(said))
    })?;
    bao.as_root().run(["kv", "put", "-mount=kv", &format!("{prefix}/payments"), "api_key=dev"])?;
    look(cluster, "0")?;
    until_ready(client, 1).await
}

fn environment(name: &str, base: &Value) -> PlatformEnvironment {
    cluster::object(json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
        "metadata": {"name": name, "namespace": PROJECT},
        "spec": {"class": "Development", "baseFrom": base, "config": {"variables": [
            {"name": "API_KEY", "vault": {"path": "payments", "key": "api_key"}},
        ]}},
    }))
}

/// Has Vault looked at for every environment.
fn look(cluster: &Cluster, value: &str) -> Result<()> {
    let annotation = format!("platform.puraify.app/look-into-vault={value}");
    let args = ["annotate", "penv", "--all", "--overwrite", "--namespace", PROJECT, &annotation];
    cluster.plane.kubectl().run(args)?;
    Ok(())
}

async fn ready(client: &Client, status: ConditionStatus) -> Result<usize> {
    let api: Api<PlatformEnvironment> = Api::namespaced(client.clone(), PROJECT);
    let is = |environment: &PlatformEnvironment| {
        let conditions = environment.status.iter().flat_map(|status| &status.conditions);
        conditions.clone().any(|condition| condition.r#type == SECRETS_READY && condition.status == status)
    };
    Ok(api.list(&ListParams::default()).await?.items.iter().filter(|environment| is(environment)).count())
}

async fn until_ready(client: &Client, count: usize) -> Result<()> {
    let began = Instant::now();
    while ready(client, ConditionStatus::True).await? < count {
        if began.elapsed() > LIMIT {
            return Err("the environments do not become ready".into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// How many requests Vault has answered.
fn requests(bao: &OpenBao) -> Result<usize> {
    let text = std::fs::read_to_string(bao.audit_log())?;
    Ok(text.lines().filter(|line| line.contains("\"type\":\"response\"")).count())
}

/// Waits until Vault is asked nothing any more.
fn quiet(bao: &OpenBao) -> Result<()> {
    let mut last = requests(bao)?;
    loop {
        thread::sleep(Duration::from_secs(3));
        let now = requests(bao)?;
        if now == last {
            return Ok(());
        }
        last = now;
    }
}

/// Vault is stopped, every environment wants to look at it, and some are deleted.
async fn outage(cluster: &Cluster, client: &Client, bao: &OpenBao, arguments: &Arguments) -> Result<()> {
    let port: u16 = bao.address().rsplit(':').next().unwrap_or_default().parse()?;
    bao.stop()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let (count, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counting, until) = (count.clone(), over.clone());
    let counter = thread::spawn(move || {
        for connection in listener.incoming() {
            if until.load(Ordering::Relaxed) {
                return;
            }
            counting.fetch_add(1, Ordering::Relaxed);
            drop(connection);
        }
    });
    look(cluster, "2")?;
    let kubectl = cluster.plane.kubectl();
    let deleted: Vec<String> = (0..10.min(arguments.environments)).map(|number| format!("e-{number}")).collect();
    let delete = ["delete", "penv", "--namespace", PROJECT, "--wait=false"];
    kubectl.run(delete.into_iter().chain(deleted.iter().map(String::as_str)))?;
    let began = Instant::now();
    let mut busiest = 0;
    let mut before = count.load(Ordering::Relaxed);
    while began.elapsed() < Duration::from_secs(arguments.outage) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let now = count.load(Ordering::Relaxed);
        busiest = busiest.max(now - before);
        before = now;
    }
    let asked = count.load(Ordering::Relaxed);
    let waiting = ready(client, ConditionStatus::Unknown).await?;
    let api: Api<PlatformEnvironment> = Api::namespaced(client.clone(), PROJECT);
    let left = api.list(&ListParams::default()).await?.items.len();
    println!(
        "Vault away for {:.0?}: {waiting} environments say so; {asked} connections, {:.2} a second, {:.1} in the busiest 10 s; {} of 10 deletions skipped it",
        began.elapsed(),
        ratio(asked, usize::try_from(began.elapsed().as_secs())?),
        ratio(busiest, 10),
        arguments.environments + 1 - left,
    );
    over.store(true, Ordering::Relaxed);
    drop(std::net::TcpStream::connect(("127.0.0.1", port)));
    counter.join().map_err(|_| "the counter failed")?;
    let back = Instant::now();
    bao.start_again()?;
    let started = back.elapsed();
    until_ready(client, arguments.environments + 1 - deleted.len()).await?;
    let well = back.elapsed();
    while api.list(&ListParams::default()).await?.items.len() > arguments.environments + 1 - deleted.len() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!(
        "  back: Vault itself took {started:.1?}, all environments were well after {well:.1?}, all deletions done after {:.1?}",
        back.elapsed()
    );
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
