//! Kubernetes Events, published in the background: telling must neither slow a reconcile down nor fail it.
//!
//! What happens again within minutes is counted on the event that tells it already ([`Told`]). kube's `Recorder` does
//! that too, but keeps each event whole for that, walks through all of them for each new one, and waits for each answer
//! before the next: with 1,000 environments made at once, it would be done long after them.

use futures::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as KubernetesEvent},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::warn;

use self::told::{Matter, Repeat, Told};
use crate::domain::event::{Event, shortened};

mod told;

/// Events that wait for the API server. More than these at once are dropped: they are help for people, not a record.
const BACKLOG: usize = 4096;

/// Events on their way at a time.
const IN_FLIGHT: usize = 8;

/// Who reports.
const CONTROLLER: &str = "environment-manager";

/// The object that an event is about.
#[derive(Clone, Debug)]
pub struct Subject(ObjectReference);

impl Subject {
    /// This object.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self(object.object_ref(&()))
    }
}

/// An event, and what it is about.
#[derive(Clone, Debug)]
struct News {
    regarding: ObjectReference,
    /// Kind and name.
    related: Option<(String, String)>,
    event: Event,
}

/// Takes events in. Cloning gives another handle to the same queue.
#[derive(Clone, Debug)]
pub struct EventSink(mpsc::Sender<News>);

impl EventSink {
    /// A sink, and what publishes its events: to be run as a task of its own. That ends when the last handle is dropped and
    /// the queue is empty.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self(sender), publish(client, receiver))
    }

    /// Takes in an event. `related` is the kind and name of another object that it is about: two events about
    /// different ones are never counted as one.
    pub fn send(&self, subject: Subject, related: Option<(&str, &str)>, event: Event) {
        let related = related.map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        let event = Event { note: shortened(event.note), ..event };
        if self.0.try_send(News { regarding: subject.0, related, event }).is_err() {
            warn!("an event was dropped: the API server takes them more slowly than they come");
        }
    }
}

async fn publish(client: Client, mut news: mpsc::Receiver<News>) {
    let mut told = Told::default();
    let mut on_their_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(untold) = on_their_way.next(), if !on_their_way.is_empty() => told.forget(untold),
            next = news.recv(), if on_their_way.len() < IN_FLIGHT => {
                let Some(news) = next else { break };
                let matter = told.matter_of(&news);
                let now = Timestamp::now();
                if let Some(repeat) = told.again(matter, now) {
                    // The event that this one repeats may still be on its way.
                    while let Some(untold) = on_their_way.next().await {
                        told.forget(untold);
                    }
                    told.forget(count(&client, &news, matter, &repeat, now).await);
                } else {
                    let name = name_of(&news, now);
                    told.remember(matter, &name, now);
                    on_their_way.push(create(&client, news, matter, name, now));
                }
            }
        }
    }
    while on_their_way.next().await.is_some() {}
}

/// As kube and client-go name them: the object, and a number that no other event of it has.
fn name_of(news: &News, now: Timestamp) -> String {
    // A name has 253 characters at most.
    let about: String = news.regarding.name.as_deref().unwrap_or(CONTROLLER).chars().take(220).collect();
    format!("{}.{:x}", about.trim_end_matches(['.', '-']), now.as_nanosecond())
}

fn api(client: &Client, news: &News) -> Api<KubernetesEvent> {
    Api::namespaced(client.clone(), news.regarding.namespace.as_deref().unwrap_or("default"))
}

/// Returns what could not be told.
async fn create(client: &Client, news: News, matter: Matter, name: String, now: Timestamp) -> Option<Matter> {
    let api = api(client, &news);
    let News { regarding, related, event } = news;
    let body = KubernetesEvent {
        metadata: ObjectMeta { name: Some(name), namespace: regarding.namespace.clone(), ..ObjectMeta::default() },
        event_time: Some(MicroTime(now)),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(event.reason),
        action: Some(event.action.to_owned()),
        note: Some(event.note),
        regarding: Some(regarding),
        related: related.map(|(kind, name)| ObjectReference {
            kind: Some(kind),
            name: Some(name),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(CONTROLLER.to_owned()),
        ..KubernetesEvent::default()
    };
    untold(api.create(&PostParams::default(), &body).await, matter, body.reason.as_deref())
}

/// Counts the event up that tells it already. Returns what could not be told.
async fn count(client: &Client, news: &News, matter: Matter, repeat: &Repeat, now: Timestamp) -> Option<Matter> {
    let series = json!({"series": {"count": repeat.count, "lastObservedTime": MicroTime(now)}});
    let patched = api(client, news).patch(&repeat.name, &PatchParams::default(), &Patch::Merge(series)).await;
    untold(patched, matter, Some(&news.event.reason))
}

fn untold(result: kube::Result<KubernetesEvent>, matter: Matter, reason: Option<&str>) -> Option<Matter> {
    let error = result.err()?;
    warn!(%error, reason, "an event could not be published");
    Some(matter)
}
