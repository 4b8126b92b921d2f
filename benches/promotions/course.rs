//! Promotions against the clock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use environment_manager::api::Promotion;
use futures::future::try_join_all;
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    share::Share,
    support::{
        Result,
        requests::{self, Script},
    },
    watcher::{Key, Watcher},
};

/// A promotion, and what the raw client writes for it.
pub struct Job {
    pub promotion: Promotion,
    pub script: Script,
}

/// Who creates promotions, and who carries scripts out.
pub struct Clients {
    person: Client,
    twin: Client,
    /// How many scripts are played at a time.
    turns: Arc<Semaphore>,
}

/// What was timed.
pub struct Course {
    /// From the create request until seen `ReadyForDeploy`, shortest first.
    pub latencies: Vec<Duration>,
    /// From the first create request until the last was seen.
    pub wall: Duration,
    /// The processor time of the servers and of the operator.
    pub cpu: Vec<Duration>,
    /// How much of the machine others took meanwhile, from 0 to 1.
    pub others: f64,
}

impl Clients {
    pub async fn new(person: Client, twin: Client, turns: usize) -> Result<Self> {
        // A person has a connection already; a hundred people have a hundred.
        try_join_all((0..turns.max(100)).map(|_| person.apiserver_version())).await?;
        Ok(Self { person, twin, turns: Arc::new(Semaphore::new(turns)) })
    }
}

/// The next one is created when the one before was seen `ReadyForDeploy`.
pub async fn one_by_one(clients: &Clients, jobs: Vec<Job>, pids: &[u32]) -> Result<Course> {
    let mut watcher = Watcher::start(&clients.person).await?;
    let (share, start) = (Share::of(pids)?, Instant::now());
    let (mut sent, mut seen) = (HashMap::new(), HashMap::new());
    for job in jobs {
        let (key, at) = carry_out(clients, job).await?;
        seen.extend(watcher.until_ready(vec![key.clone()]).await?);
        sent.insert(key, at);
    }
    course(start, &sent, &seen, &share)
}

/// All are created at the same moment.
pub async fn at_once(clients: &Clients, jobs: Vec<Job>, pids: &[u32]) -> Result<Course> {
    let mut watcher = Watcher::start(&clients.person).await?;
    let (share, start) = (Share::of(pids)?, Instant::now());
    let sent: HashMap<Key, Instant> =
        try_join_all(jobs.into_iter().map(|job| carry_out(clients, job))).await?.into_iter().collect();
    let seen = watcher.until_ready(sent.keys().cloned().collect()).await?;
    course(start, &sent, &seen, &share)
}

/// Creates a promotion and plays its script. Returns when the create request was sent.
async fn carry_out(clients: &Clients, job: Job) -> Result<(Key, Instant)> {
    let project = job.promotion.namespace().unwrap_or_default();
    let key = (project.clone(), job.promotion.name_any());
    let api: Api<Promotion> = Api::namespaced(clients.person.clone(), &project);
    let (twin, turns) = (clients.twin.clone(), clients.turns.clone());
    // A task each, so that both processors encrypt.
    let sent = tokio::spawn(async move {
        let sent = Instant::now();
        api.create(&PostParams::default(), &job.promotion).await?;
        let _turn = turns.acquire().await?;
        requests::play(twin, job.script).await?;
        Result::Ok(sent)
    });
    Ok((key, sent.await??))
}

fn course(start: Instant, sent: &HashMap<Key, Instant>, seen: &HashMap<Key, Instant>, share: &Share) -> Result<Course> {
    let (cpu, others) = share.spent()?;
    let wall = seen.values().max().map_or(Duration::ZERO, |last| last.duration_since(start));
    let mut latencies: Vec<Duration> =
        seen.iter().filter_map(|(key, at)| Some(at.duration_since(*sent.get(key)?))).collect();
    latencies.sort_unstable();
    Ok(Course { latencies, wall, cpu, others })
}
