//! Kubernetes Events, published in the background: telling must neither slow a reconcile down nor fail it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tracing::warn;

use crate::{api::PlatformEnvironment, domain::environment::events};

/// Events that wait for the API server. More than these at once are dropped: they are help for people, not a record.
const BACKLOG: usize = 4096;

/// The object that an event is about.
#[derive(Clone, Debug)]
pub struct Subject(ObjectReference);

impl Subject {
    /// This environment.
    #[must_use]
    pub fn of(environment: &PlatformEnvironment) -> Self {
        Self(environment.object_ref(&()))
    }
}

/// Takes events in. Cloning gives another handle to the same queue.
#[derive(Clone, Debug)]
pub struct EventSink(mpsc::Sender<(ObjectReference, Event)>);

impl EventSink {
    /// A sink whose events are published by a task of its own. The task ends when the last handle is dropped and the
    /// queue is empty.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(publish(client, receiver));
        Self(sender)
    }

    /// Takes in an event. `related` is the kind and name of another object that it is about: two events about
    /// different ones are never counted as one.
    pub fn send(&self, subject: Subject, related: Option<(&str, &str)>, event: events::Event) {
        let Subject(regarding) = subject;
        let secondary = related.map(|(kind, name)| ObjectReference {
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        });
        let event = Event {
            type_: if event.warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason,
            note: Some(event.note),
            action: event.action.to_owned(),
            secondary,
        };
        if self.0.try_send((regarding, event)).is_err() {
            warn!("an event was dropped: the API server takes them more slowly than they come");
        }
    }
}

async fn publish(client: Client, mut events: mpsc::Receiver<(ObjectReference, Event)>) {
    let reporter = Reporter { controller: "environment-manager".to_owned(), instance: None };
    let recorder = Recorder::new(client, reporter);
    while let Some((regarding, event)) = events.recv().await {
        if let Err(error) = recorder.publish(&event, &regarding).await {
            warn!(%error, reason = event.reason, "an event could not be published");
        }
    }
}
