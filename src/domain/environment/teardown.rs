//! The end of an environment: its secrets and whoever may read them first, then children, the namespace, the history, the finalizer.
//!
//! What gives access and what applications follow goes at once. Network policies, quota and limits stay until the
//! namespace takes them along: without them, applications that still run would stand open.

use jiff::SignedDuration;

use super::{
    children::{ChildId, ChildKind},
    naming,
    plan::{Action, Hold, Read, Rest, Step, has_finalizer},
    secrets,
    snapshot::{Child, Snapshot},
    status::{self, Findings},
};
use crate::api::{
    DeletionPolicy, FINALIZER,
    condition::{self, Reason},
};

/// How long a namespace may take to go before people are told what holds it. Kubernetes itself takes about five
/// seconds for one that is nearly empty.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// How often a namespace that is held is asked again.
const REMINDER: SignedDuration = SignedDuration::from_secs(30);

/// The next step of an environment that shall go.
#[must_use]
pub fn plan(snapshot: &Snapshot<'_>) -> Step {
    if !has_finalizer(snapshot) {
        return rest(snapshot, &foreign_finalizers(snapshot), None);
    }
    if let Some(failure) = snapshot.failures.first() {
        let hold = Hold { retry: true, ..Hold::waiting(failure.reason, condition::READY, failure.message.clone()) };
        return rest(snapshot, &hold, None);
    }
    match secrets::teardown(snapshot) {
        Ok(None) => {}
        Ok(Some(step)) => return step,
        Err(hold) => {
            let trouble = snapshot.vault.as_ref().and_then(|vault| vault.trouble);
            return rest(snapshot, &hold, trouble.and_then(|trouble| trouble.again(snapshot.now)));
        }
    }
    let name = naming::namespace(snapshot.project(), snapshot.name()).unwrap_or_default();
    let namespace = snapshot.child(&ChildId { kind: ChildKind::Namespace, name });
    // One that our field manager never touched only looks like ours.
    if let Some(namespace) = namespace.filter(|namespace| namespace.owned.is_some()) {
        return match snapshot.environment.spec.deletion_policy {
            // One that is on its way out cannot be kept any more.
            DeletionPolicy::Retain if !namespace.terminating => {
                Step::Act(vec![Action::RetainNamespace(namespace.uid.clone())])
            }
            DeletionPolicy::Retain | DeletionPolicy::Delete => delete(snapshot, namespace),
        };
    }
    // The cache shows only what carries our label. A namespace without it is found by looking, and goes too.
    if snapshot.namespace.is_none() {
        return Step::Read(Read::Namespace);
    }
    if snapshot.latest().is_some() || snapshot.unreadable.is_some() {
        return Step::Act(vec![Action::DeleteRevisions]);
    }
    Step::Act(vec![Action::RemoveFinalizer])
}

fn delete(snapshot: &Snapshot<'_>, namespace: &Child) -> Step {
    if namespace.terminating {
        return wait_for_namespace(snapshot, namespace);
    }
    let first = |child: &&Child| {
        let gives_access =
            matches!(child.id.kind, ChildKind::RoleBinding | ChildKind::ServiceAccount | ChildKind::ConfigMap);
        gives_access && child.mark.is_some() && !child.terminating
    };
    let children: Vec<Action> = snapshot
        .children
        .iter()
        .filter(first)
        .map(|child| Action::Delete(child.id.clone(), child.uid.clone()))
        .collect();
    if children.is_empty() {
        return Step::Act(vec![Action::Delete(namespace.id.clone(), namespace.uid.clone())]);
    }
    Step::Act(children)
}

/// A namespace takes a few seconds, and its end wakes us. One that takes longer is asked what holds it.
fn wait_for_namespace(snapshot: &Snapshot<'_>, namespace: &Child) -> Step {
    let Some(report) = snapshot.namespace else { return Step::Read(Read::Namespace) };
    let name = &namespace.id.name;
    let patience_ends = report.since.and_then(|since| since.checked_add(PATIENCE).ok());
    if let Some(moment) = patience_ends.filter(|moment| *moment > snapshot.now) {
        let message = format!("Waiting for the namespace {name} to go");
        return rest(snapshot, &Hold::waiting(Reason::Terminating, condition::READY, message), Some(moment));
    }
    let held = what_holds(snapshot);
    let reason = if report.finalizers.is_empty() && report.remaining.is_empty() {
        Reason::Terminating
    } else {
        Reason::ForeignFinalizer
    };
    let message = format!("The namespace {name} does not go{held}");
    let wake = snapshot.now.checked_add(REMINDER).ok();
    rest(snapshot, &Hold::waiting(reason, condition::READY, message), wake)
}

/// What the namespace says about what holds it, as the end of a sentence. Nothing is ever stripped: whoever set a
/// finalizer knows what still has to be done.
#[must_use]
pub fn what_holds(snapshot: &Snapshot<'_>) -> String {
    let Some(report) = snapshot.namespace else { return String::new() };
    let mut parts = report.remaining.clone();
    if !report.finalizers.is_empty() {
        parts.push(format!("finalizers on the namespace itself: {}", report.finalizers.join(", ")));
    }
    if parts.is_empty() {
        return String::new();
    }
    format!(
        ". It says: {}. Let the owners of these finalizers finish their work, or remove them by hand",
        parts.join("; ")
    )
}

/// Our part is done; others hold the environment.
fn foreign_finalizers(snapshot: &Snapshot<'_>) -> Hold {
    let others = snapshot.environment.metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER);
    let others: Vec<&str> = others.map(String::as_str).collect();
    let left = match snapshot.children.iter().find(|child| child.id.kind == ChildKind::Namespace) {
        Some(namespace) => {
            format!("Our finalizer was removed by hand, so {} is left behind; delete it by hand", namespace.id)
        }
        None => "Everything that belonged to the environment is gone".to_owned(),
    };
    let message = format!(
        "{left}; finalizers of others still hold it: {}. Let their owners \
         finish their work, or remove them by hand",
        others.join(", ")
    );
    Hold::waiting(Reason::ForeignFinalizer, condition::READY, message)
}

fn rest(snapshot: &Snapshot<'_>, hold: &Hold, wake: Option<jiff::Timestamp>) -> Step {
    let gone = Some(false);
    let findings = Findings {
        namespace_intact: gone,
        isolation_intact: gone,
        config_intact: gone,
        secrets_intact: gone,
        ..Findings::default()
    };
    let status = status::report(snapshot, &findings, Some(hold));
    Step::Rest(Box::new(Rest { status, wake, retry: hold.retry }))
}
