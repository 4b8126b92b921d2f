//! What the process counts and measures, as `OpenMetrics` text.
//!
//! Counters and histograms are kept here. What is a property of the present (queue depths, environments by class and
//! phase, cached objects) is not kept but asked for at each scrape, from the place that knows it: so it cannot drift.
//!
//! Label values are bounded: kinds, resources, verbs, status codes and outcomes; never the name of an object.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text},
    metrics::{counter::Counter, family::Family, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::controller::run_loop::Trigger;

mod observed;

pub use observed::EnvironmentGroup;
use observed::{Caches, Environments, Queues};

/// Where `/metrics` comes from. One per process, shared.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<ReconcileLabels, Counter>,
    durations: Family<KindLabels, Histogram, fn() -> Histogram>,
    requests: Family<RequestLabels, Counter>,
    watch_errors: Family<ResourceLabels, Counter>,
    vault: Family<VaultLabels, Counter>,
    queues: Queues,
    caches: Caches,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Success,
    /// Well, but the object is held by something that a person has to mend.
    Held,
    /// With an error, by its [label](crate::controller::error::ReconcileError::label).
    Error(&'static str),
    /// Not in time.
    Timeout,
    /// With a panic.
    Panic,
}

/// A request to the Kubernetes API, as counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// As in RBAC, but for `apply`, which RBAC calls `patch`.
    pub verb: &'static str,
    /// The plural name, and a subresource after a slash.
    pub resource: ResourceName,
    /// The HTTP status; `timeout` or `error` if there was none.
    pub code: Code,
}

/// A resource as metrics name it: `configmaps`, `namespaces/finalize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceName {
    /// The plural name, or `other`.
    pub resource: &'static str,
    /// The subresource, if one was meant.
    pub subresource: Option<&'static str>,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// With an HTTP status.
    Status(u16),
    /// Not in time.
    Timeout,
    /// Not at all: the connection failed.
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VaultLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: &'static str,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("environment_manager")),
            reconciles: Family::default(),
            durations: Family::new_with_constructor(reconcile_seconds),
            requests: Family::default(),
            watch_errors: Family::default(),
            vault: Family::default(),
            queues: Queues::default(),
            caches: Caches::default(),
        };
        metrics.register();
        metrics
    }

    /// Counts a request to Vault.
    pub fn vault_request(&self, operation: &'static str, outcome: &'static str) {
        self.vault.get_or_create(&VaultLabels { operation, outcome }).inc();
    }

    /// Counts a reconcile that ended.
    pub fn reconciled(&self, kind: &'static str, outcome: Outcome, took: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { kind, outcome: outcome.label() }).inc();
        self.durations.get_or_create(&KindLabels { kind }).observe(took.as_secs_f64());
    }

    /// Counts a request to the Kubernetes API.
    pub fn requested(&self, labels: &RequestLabels) {
        self.requests.get_or_create(labels).inc();
    }

    /// Counts an error of a watch.
    pub fn watch_failed(&self, resource: &'static str) {
        self.watch_errors.get_or_create(&ResourceLabels { resource }).inc();
    }

    /// From now on reports the state of this kind's queue at each scrape.
    pub fn watch_queue(&self, kind: &'static str, trigger: Trigger) {
        self.queues.add(kind, trigger);
    }

    /// From now on reports how many objects a cache holds at each scrape.
    pub fn watch_cache(&self, resource: &'static str, len: impl Fn() -> usize + Send + Sync + 'static) {
        self.caches.add(resource, Box::new(len));
    }

    /// From now on reports the environments by class and phase, as `count` finds them at each scrape. To be called
    /// once, by the environment controller.
    pub fn set_environments(&self, count: impl Fn() -> Vec<(EnvironmentGroup, u64)> + Send + Sync + 'static) {
        self.registry().register_collector(Box::new(Environments::new(count)));
    }

    /// Everything as `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry())?;
        Ok(encoded)
    }

    fn register(&self) {
        let mut registry = self.registry();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The running version", Info::new(version));
        registry.register("reconciles", "Reconciles that ended, by kind and outcome", self.reconciles.clone());
        registry.register("reconcile_duration_seconds", "How long reconciles took", self.durations.clone());
        registry.register(
            "kubernetes_requests",
            "Requests to the Kubernetes API, each attempt counted",
            self.requests.clone(),
        );
        registry.register("watch_errors", "Errors of watches, after each of which the watch resumed or began anew", {
            self.watch_errors.clone()
        });
        registry.register(
            "vault_requests",
            "Requests to Vault, by what they do and what became of them",
            self.vault.clone(),
        );
        registry.register_collector(Box::new(self.queues.clone()));
        registry.register_collector(Box::new(self.caches.clone()));
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Held => "held",
            Self::Error(label) => label,
            Self::Timeout => "timeout",
            Self::Panic => "panic",
        }
    }
}

impl EncodeLabelValue for ResourceName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        use fmt::Write as _;
        encoder.write_str(self.resource)?;
        self.subresource.map_or(Ok(()), |subresource| write!(encoder, "/{subresource}"))
    }
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => EncodeLabelValue::encode(status, encoder),
            Self::Timeout => EncodeLabelValue::encode(&"timeout", encoder),
            Self::Error => EncodeLabelValue::encode(&"error", encoder),
        }
    }
}

/// From one request to the API server to the timeout of a reconcile.
fn reconcile_seconds() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{controller::run_loop::Limits, kube_ext::key::ObjectKey};

    fn has_line(metrics: &Metrics, line: &str) {
        let text = metrics.encode().unwrap();
        assert!(text.lines().any(|present| present == line), "no line {line:?} in:\n{text}");
    }

    #[test]
    fn reconciles_are_counted_by_kind_and_outcome() {
        let metrics = Metrics::new();
        metrics.reconciled("Promotion", Outcome::Success, Duration::from_millis(20));
        metrics.reconciled("Promotion", Outcome::Error("conflict"), Duration::from_millis(20));
        has_line(&metrics, r#"environment_manager_reconciles_total{kind="Promotion",outcome="conflict"} 1"#);
        has_line(&metrics, r#"environment_manager_reconcile_duration_seconds_count{kind="Promotion"} 2"#);
    }

    #[test]
    fn requests_are_counted_by_verb_resource_and_code() {
        let metrics = Metrics::new();
        let resource = ResourceName { resource: "promotions", subresource: Some("status") };
        metrics.requested(&RequestLabels { verb: "apply", resource, code: Code::Status(200) });
        metrics.requested(&RequestLabels { verb: "apply", resource, code: Code::Timeout });
        let name = "environment_manager_kubernetes_requests_total";
        for code in ["200", "timeout"] {
            has_line(&metrics, &format!(r#"{name}{{verb="apply",resource="promotions/status",code="{code}"}} 1"#));
        }
    }

    #[test]
    fn the_present_is_asked_for_at_each_scrape() {
        let metrics = Metrics::new();
        let trigger = Trigger::new(&Limits::default());
        metrics.watch_queue("Promotion", trigger.clone());
        metrics.watch_cache("promotions", || 3);
        metrics.set_environments(|| vec![(EnvironmentGroup { class: "Preview", phase: "Active" }, 12)]);
        has_line(&metrics, r#"environment_manager_queue_ready{kind="Promotion"} 0"#);
        trigger.now(ObjectKey::new("pf-872", "production-x2b"));
        has_line(&metrics, r#"environment_manager_queue_ready{kind="Promotion"} 1"#);
        has_line(&metrics, r#"environment_manager_cached_objects{resource="promotions"} 3"#);
        has_line(&metrics, r#"environment_manager_environments{class="Preview",phase="Active"} 12"#);
        has_line(&metrics, &format!(r#"environment_manager_build_info{{version="{}"}} 1"#, env!("CARGO_PKG_VERSION")));
        has_line(&metrics, "# EOF");
    }
}
