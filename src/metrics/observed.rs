//! Gauges whose value is asked for at each scrape.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet},
    metrics::MetricType,
};

use super::{KindLabels, ResourceLabels};
use crate::controller::run_loop::{QueueState, Trigger};

/// Environments of one class in one phase.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct EnvironmentGroup {
    /// `spec.class`.
    pub class: &'static str,
    /// `status.phase`.
    pub phase: &'static str,
}

/// Who is asked, by name. Grows while the process starts.
struct Sources<T>(Arc<Mutex<Vec<(&'static str, T)>>>);

impl<T> Sources<T> {
    fn add(&self, name: &'static str, source: T) {
        self.all().push((name, source));
    }

    fn all(&self) -> MutexGuard<'_, Vec<(&'static str, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Sources<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Sources<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Sources<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().iter().map(|(name, _)| name)).finish()
    }
}

/// The controllers' queues.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues(Sources<Trigger>);

impl Queues {
    pub(super) fn add(&self, kind: &'static str, trigger: Trigger) {
        self.0.add(kind, trigger);
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let states: Vec<_> = self.0.all().iter().map(|(kind, trigger)| (*kind, trigger.state())).collect();
        let mut count = |name, help, value: fn(&QueueState) -> usize| {
            let values = states.iter().map(|(kind, state)| (KindLabels { kind }, value(state) as u64));
            encode_gauge(&mut encoder, name, help, values)
        };
        count("queue_ready", "Objects that wait for a free slot", |state| state.ready)?;
        count("queue_waiting", "Objects that wait for a time: a retry or a deadline", |state| state.waiting)?;
        count("queue_in_flight", "Reconciles that run", |state| state.in_flight)?;
        let oldest = states
            .iter()
            .map(|(kind, state)| (KindLabels { kind }, state.oldest_ready.map_or(0.0, |oldest| oldest.as_secs_f64())));
        encode_gauge(
            &mut encoder,
            "queue_oldest_ready_seconds",
            "For how long the object that has been ready longest waits for a slot",
            oldest,
        )
    }
}

/// The caches' sizes.
#[derive(Clone, Debug, Default)]
pub(super) struct Caches(Sources<Box<dyn Fn() -> usize + Send + Sync>>);

impl Caches {
    pub(super) fn add(&self, resource: &'static str, len: Box<dyn Fn() -> usize + Send + Sync>) {
        self.0.add(resource, len);
    }
}

impl Collector for Caches {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let caches = self.0.all();
        let values = caches.iter().map(|(resource, len)| (ResourceLabels { resource }, len() as u64));
        encode_gauge(&mut encoder, "cached_objects", "Objects of which something is held in memory", values)
    }
}

/// The environments by class and phase.
pub(super) struct Environments {
    count: Box<dyn Fn() -> Vec<(EnvironmentGroup, u64)> + Send + Sync>,
}

impl Environments {
    pub(super) fn new(count: impl Fn() -> Vec<(EnvironmentGroup, u64)> + Send + Sync + 'static) -> Self {
        Self { count: Box::new(count) }
    }
}

impl fmt::Debug for Environments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environments").finish_non_exhaustive()
    }
}

impl Collector for Environments {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let values = (self.count)();
        encode_gauge(&mut encoder, "environments", "Environments by class and phase", values)
    }
}

fn encode_gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, V)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}
