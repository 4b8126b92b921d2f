//! The raw client: it sends a prepared [script] and looks at nothing but the answers' codes.
//!
//! It is what no operator can beat: no watches, no caches, no plan, no decoding, kube's own client. Only the order of
//! an environment's stages is kept.

use std::time::{Duration, Instant};

use environment_manager::{api::PlatformEnvironment, domain::settings::Settings};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{Api, Client, api::ListParams};

use crate::{
    cpu::Cpu,
    fleet, script,
    support::{
        Result,
        audit::Audit,
        cluster::Cluster,
        requests::{self, Script},
    },
};

/// Enough to fill the server's caches and to grow its heap.
const WARM_UP: usize = 50;

/// One run of the raw client.
pub struct Twin {
    /// Environments at a time.
    pub in_flight: usize,
    pub wall: Duration,
    pub cpu: Duration,
    pub servers_cpu: Duration,
    /// Writes per environment: the minimum.
    pub writes: usize,
}

/// The server has its first work behind it before anything is measured.
pub async fn warm_up(cluster: &Cluster, admin: &Client) -> Result<()> {
    let project = "warm-up";
    fleet::create(cluster, admin, project, WARM_UP).await?;
    let scripts = scripts(admin, project).await?;
    send(&cluster.twin().await?, scripts, 16).await?;
    // What is left of it, the operator must not see.
    let kubectl = cluster.plane.kubectl();
    let patch = r#"{"metadata": {"finalizers": null}}"#;
    for number in 0..WARM_UP {
        let name = format!("e-{number}");
        kubectl.run(["patch", "platformenvironment", &name, "-n", project, "--type=merge", "-p", patch])?;
    }
    kubectl.run(["delete", "namespaces", "-l", "platform.puraify.app/project=warm-up", "--timeout=300s"])?;
    kubectl.run(["delete", "namespace", project, "--timeout=300s"])?;
    Ok(())
}

/// The raw client with each of these numbers of environments at a time, each in a project of its own.
pub async fn measure(
    cluster: &Cluster,
    admin: &Client,
    audit: &mut Audit,
    environments: usize,
    in_flight: &[usize],
) -> Result<Vec<Twin>> {
    let mut twins = vec![];
    for in_flight in in_flight.iter().copied() {
        let project = format!("raw-{in_flight}");
        fleet::create(cluster, admin, &project, environments).await?;
        let scripts = scripts(admin, &project).await?;
        let writes = scripts.first().map(|script| script.iter().map(Vec::len).sum()).unwrap_or_default();
        audit.until_quiet()?;
        let client = cluster.twin().await?;
        let (servers, own) = (Cpu::of(&cluster.plane.pids()), Cpu::of(&[std::process::id()]));
        let wall = send(&client, scripts, in_flight).await?;
        let (cpu, servers_cpu) = (own.spent()?, servers.spent()?);
        cluster.expect_ready(admin, &project, environments).await?;
        twins.push(Twin { in_flight, wall, cpu, servers_cpu, writes });
        audit.until_quiet()?;
    }
    Ok(twins)
}

async fn scripts(admin: &Client, project: &str) -> Result<Vec<Script>> {
    let api: Api<PlatformEnvironment> = Api::namespaced(admin.clone(), project);
    let settings = Settings { allowed_cluster_roles: ["view".to_owned()].into(), ..Settings::default() };
    let environments = api.list(&ListParams::default()).await?.items;
    environments.into_iter().map(|environment| script::of(environment, &settings)).collect()
}

async fn send(client: &Client, scripts: Vec<Script>, in_flight: usize) -> Result<Duration> {
    let start = Instant::now();
    stream::iter(scripts)
        // A task each, so that both processors encrypt.
        .map(|script| tokio::spawn(requests::play(client.clone(), script)))
        .buffer_unordered(in_flight)
        .map(|played| played.map_err(Into::into).and_then(|sent| sent.map_err(Into::into)))
        .try_for_each(|()| async { Result::Ok(()) })
        .await?;
    Ok(start.elapsed())
}
