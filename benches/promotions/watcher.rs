//! Somebody who has nothing to do with either side, and sees when a promotion is `ReadyForDeploy`.

use std::{collections::HashMap, time::Duration};

use environment_manager::api::{Promotion, PromotionPhase};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use kube::{
    Api, Client,
    api::{ApiResource, ListParams, WatchEvent, WatchParams},
    core::Object,
};
use serde::Deserialize;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::support::Result;

/// More than any promotion takes.
const LIMIT: Duration = Duration::from_mins(1);

/// Project and name of a promotion.
pub type Key = (String, String);

/// A promotion that only says where it is.
type Sight = Object<Nothing, Status>;

#[derive(Clone, Debug, Deserialize)]
struct Nothing {}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    phase: Option<PromotionPhase>,
}

/// A watch over the promotions of all projects.
pub struct Watcher {
    sightings: UnboundedReceiver<(Key, PromotionPhase, Instant)>,
    task: JoinHandle<Result<()>>,
}

impl Watcher {
    /// Sees everything from now on: returns when the watch is in place.
    pub async fn start(client: &Client) -> Result<Self> {
        let api: Api<Sight> = Api::all_with(client.clone(), &ApiResource::erase::<Promotion>(&()));
        let list = api.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.unwrap_or_default();
        let (sender, sightings) = unbounded_channel();
        // The request is answered when the watch is in place: nothing that comes after is missed.
        let events = api.watch(&WatchParams::default(), &version).await?.boxed();
        Ok(Self { sightings, task: tokio::spawn(follow(events, sender)) })
    }

    /// When each of these was first seen `ReadyForDeploy`.
    pub async fn until_ready(&mut self, mut expected: Vec<Key>) -> Result<HashMap<Key, Instant>> {
        let mut seen = HashMap::new();
        while !expected.is_empty() {
            let sighting = timeout(LIMIT, self.sightings.recv()).await;
            let sighting = sighting.map_err(|_| format!("these do not become ReadyForDeploy: {expected:?}"))?;
            let (key, phase, at) = sighting.ok_or("the watch of the promotions ended")?;
            if phase.is_terminal() || phase == PromotionPhase::Pending {
                return Err(format!("the promotion {key:?} is {}", phase.as_str()).into());
            }
            if phase == PromotionPhase::ReadyForDeploy && expected.contains(&key) {
                expected.retain(|other| *other != key);
                seen.insert(key, at);
            }
        }
        Ok(seen)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    mut events: BoxStream<'static, kube::Result<WatchEvent<Sight>>>,
    sender: UnboundedSender<(Key, PromotionPhase, Instant)>,
) -> Result<()> {
    while let Some(event) = events.try_next().await? {
        let at = Instant::now();
        let (WatchEvent::Added(sight) | WatchEvent::Modified(sight)) = event else { continue };
        let Some(phase) = sight.status.and_then(|status| status.phase) else { continue };
        let key = (sight.metadata.namespace.unwrap_or_default(), sight.metadata.name.unwrap_or_default());
        sender.send((key, phase, at))?;
    }
    Ok(())
}
