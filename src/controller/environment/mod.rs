//! The environment controller: observe → plan → act → report.
//!
//! A reconcile takes a [`Snapshot`] of what the caches say, asks [`plan()`] for the next step, carries it out, and
//! starts over until the plan rests. What each write returns goes into the caches at once ([`act`]), so the next
//! snapshot has it. Then the status is reported, if it is another one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
};
use serde_json::{Value, json};

use self::{
    act::{Acted, Executor, Subject},
    reports::Reports,
};
use super::{
    error::ReconcileError,
    run_loop::{Next, Reconciler, Trigger},
    world::{Newest, World, environment_of_revision},
};
use crate::{
    api::{EnvironmentRevision, FIELD_MANAGER, GROUP, PlatformEnvironment, PlatformEnvironmentStatus, VERSION},
    domain::{
        environment::{
            children::{self, ChildId, ChildKind},
            events,
            intents::Memo,
            naming,
            plan::{Action, Read, Rest, Step, plan, restless},
            snapshot::{Base, BaseEnvironment, NamespaceReport, Snapshot},
            status,
        },
        settings::Settings,
    },
    kube_ext::{
        cache::Decoded,
        events::{EventSink, Subject as EventSubject},
        key::ObjectKey,
    },
};

pub mod act;
mod reports;
#[cfg(test)]
mod tests;
mod undecodable;

/// More steps than any environment needs. A plan that does not come to rest is a defect, and must not spin.
const MOST_STEPS: usize = 32;

/// When to go on with an environment that is edited faster than it is settled.
const SOON: Duration = Duration::from_millis(200);

/// Reconciles environments.
pub struct EnvironmentController {
    world: Arc<World>,
    settings: Settings,
    executor: Executor,
    events: EventSink,
    waiting: Arc<Waiting>,
    reports: Arc<Reports>,
}

/// Environments that wait for others, by what they wait for. Only a hint: it is filled anew by each reconcile.
#[derive(Default)]
struct Waiting(Mutex<HashMap<Awaited, BTreeSet<ObjectKey>>>);

/// What an environment may wait for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Awaited {
    Environment(ObjectKey),
    Version(ObjectKey),
}

impl Waiting {
    fn add(&self, awaited: Awaited, environment: &ObjectKey) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(awaited).or_default().insert(environment.clone());
    }

    fn remove(&self, awaited: &Awaited, environment: &ObjectKey) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environments) = waiting.get_mut(awaited) {
            environments.remove(environment);
            if environments.is_empty() {
                waiting.remove(awaited);
            }
        }
    }

    fn wake(&self, awaited: &Awaited, trigger: &Trigger) {
        let woken = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(awaited);
        woken.into_iter().flatten().for_each(|environment| trigger.now(environment));
    }
}

impl Awaited {
    /// What an environment with this spec starts from.
    fn by(key: &ObjectKey, environment: &PlatformEnvironment) -> Option<Self> {
        let base = environment.spec.base_from.as_ref()?;
        let in_project = |name: &String| ObjectKey::new(key.namespace.clone(), name.as_str());
        let version = base.version.as_ref().map(|name| Self::Version(in_project(name)));
        version.or_else(|| base.environment.as_ref().map(|name| Self::Environment(in_project(name))))
    }
}

/// What a reconcile carries from step to step: what it learned from live reads, and what it worked out.
#[derive(Default)]
struct Live {
    revisions: BTreeMap<String, Option<EnvironmentRevision>>,
    namespace: Option<NamespaceReport>,
    acted: Acted,
    memo: Memo,
}

impl EnvironmentController {
    /// A controller over these caches. `trigger` is put on everything that concerns an environment: call this before
    /// the caches are filled.
    #[must_use]
    pub fn new(client: Client, world: Arc<World>, settings: Settings, events: EventSink, trigger: &Trigger) -> Self {
        let (waiting, reports) = (Arc::new(Waiting::default()), Arc::new(Reports::default()));
        subscribe(&world, trigger, &waiting, &reports);
        Self { world, settings, executor: Executor::new(client), events, waiting, reports }
    }

    async fn settle(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let mut live = Live::default();
        let (mut steps, mut began_with) = (0, None);
        loop {
            let Some(environment) = self.environment(key).await? else { return Ok(Next::AwaitChange) };
            let generation = environment.metadata.generation;
            let edited = *began_with.get_or_insert(generation) != generation;
            if steps == MOST_STEPS && edited {
                return Ok(Next::After(SOON));
            }
            let now = Timestamp::now();
            let snapshot = self.observe(key, &environment, &live, now);
            let step =
                if steps < MOST_STEPS { plan(&snapshot) } else { Step::Rest(Box::new(restless(&snapshot, steps))) };
            match step {
                Step::Read(read) => {
                    drop(snapshot);
                    let uid = environment.metadata.uid.as_deref().unwrap_or_default();
                    self.read(key, uid, &read, &mut live).await?;
                }
                Step::Act(actions) => {
                    drop(snapshot);
                    live.acted = self.act(key, &environment, &actions).await?;
                    live.namespace = None;
                }
                Step::Rest(rest) => {
                    if let Some(awaited) = Awaited::by(key, &environment).filter(|_| snapshot.latest.is_some()) {
                        self.waiting.remove(&awaited, key);
                    }
                    drop(snapshot);
                    return self.report(key, &environment, *rest, now).await;
                }
            }
            steps += 1;
        }
    }

    async fn environment(&self, key: &ObjectKey) -> Result<Option<Arc<PlatformEnvironment>>, ReconcileError> {
        match self.world.environments.get(key) {
            None => Ok(None),
            Some(Decoded::Valid(environment)) => Ok(Some(environment)),
            Some(Decoded::Invalid(invalid)) => undecodable::handle(self.executor.client(), key, &invalid).await,
        }
    }

    fn observe<'a>(
        &'a self,
        key: &ObjectKey,
        environment: &'a PlatformEnvironment,
        live: &'a Live,
        now: Timestamp,
    ) -> Snapshot<'a> {
        let uid = environment.metadata.uid.as_deref().unwrap_or_default();
        let Newest { latest, previous, unreadable } = self.world.newest_revisions(key, uid);
        let base = if latest.is_none() { self.base(key, environment) } else { Base::Nothing };
        let namespace = naming::namespace(&key.namespace, &key.name).unwrap_or_default();
        let mut children = self.world.children_of(&namespace, uid);
        children.retain(|child| live.acted.found.iter().all(|found| found.id != child.id));
        children.extend(live.acted.found.iter().cloned());
        for child in &mut children {
            child.owned = child.owned.map(|actual| self.executor.foretold(actual));
        }
        Snapshot {
            environment,
            project_id: self.world.projects.get(&ObjectKey::cluster(key.namespace.clone())).map(|project| project.id),
            settings: &self.settings,
            former_history: self.world.has_former_history(key, uid),
            latest,
            previous,
            unreadable: unreadable.map(|number| naming::revision(&key.name, number)),
            base,
            revisions: &live.revisions,
            children,
            namespace: live.namespace.as_ref(),
            failures: &live.acted.failures,
            memo: &live.memo,
            now,
        }
    }

    /// What the environment starts from. Whoever looks at a base that is not there (yet) is woken when it changes; the
    /// wish to be woken comes before the look, so that no change falls in between.
    fn base(&self, key: &ObjectKey, environment: &PlatformEnvironment) -> Base {
        let Some(awaited) = Awaited::by(key, environment) else { return Base::Nothing };
        self.waiting.add(awaited.clone(), key);
        match awaited {
            Awaited::Version(version) => {
                let reference = self.world.versions.get(&version).map(|record| record.reference().clone());
                Base::Version(version.name.to_string(), reference)
            }
            Awaited::Environment(base) => {
                let found = self.world.environments.valid(&base);
                let uid = found.as_ref().and_then(|found| found.metadata.uid.clone()).unwrap_or_default();
                Base::Environment(BaseEnvironment {
                    name: base.name.to_string(),
                    exists: found.is_some(),
                    terminating: found.is_some_and(|found| found.metadata.deletion_timestamp.is_some()),
                    latest: self.world.newest_revisions(&base, &uid).latest,
                    circle: self.circle(key),
                })
            }
        }
    }

    /// The environments that wait for each other in a circle, starting with this one, if it is part of one.
    fn circle(&self, key: &ObjectKey) -> Option<Vec<String>> {
        let mut circle: Vec<String> = vec![];
        let mut next = key.clone();
        loop {
            circle.push(next.name.to_string());
            let environment = self.world.environments.valid(&next)?;
            let uid = environment.metadata.uid.as_deref().unwrap_or_default();
            let released = self.world.newest_revisions(&next, uid).latest.is_some();
            let base = environment.spec.base_from.as_ref()?.environment.clone().filter(|_| !released)?;
            if *base == *key.name {
                return Some(circle);
            }
            if circle.contains(&base) {
                return None;
            }
            next = ObjectKey::new(key.namespace.clone(), base);
        }
    }

    async fn read(
        &self,
        key: &ObjectKey,
        environment_uid: &str,
        read: &Read,
        live: &mut Live,
    ) -> Result<(), ReconcileError> {
        let client = self.executor.client().clone();
        match read {
            Read::Revision(name) => {
                let api: Api<EnvironmentRevision> = Api::namespaced(client, &key.namespace);
                let action = format!("read EnvironmentRevision {}/{name}", key.namespace);
                let revision = api.get_opt(name).await.map_err(ReconcileError::kubernetes(action))?;
                if let Some(revision) = revision.clone() {
                    self.world.revisions.written(DeserializeGuard(Ok(revision)));
                }
                live.revisions.insert(name.clone(), revision);
            }
            Read::Namespace => {
                let name = naming::namespace(&key.namespace, &key.name).unwrap_or_default();
                let api: Api<Namespace> = Api::all(client);
                let action = format!("read Namespace {name}");
                let found = if name.is_empty() {
                    None
                } else {
                    api.get_opt(&name).await.map_err(ReconcileError::kubernetes(action))?
                };
                let id = ChildId { kind: ChildKind::Namespace, name };
                let ours = found.as_ref().and_then(|found| act::ours(&found.metadata, &id, environment_uid));
                // No watch tells the end of a namespace without our label, so the cache may hold what is gone.
                let (cache, at) = (self.world.children(ChildKind::Namespace), ObjectKey::cluster(id.name.as_str()));
                if let (None, Some(held)) = (&found, cache.held(&at)) {
                    cache.remove_written(&at, &held.stamp.uid);
                }
                live.acted.found.retain(|child| child.id != id);
                live.acted.found.extend(ours);
                live.namespace = Some(found.map(report_of).unwrap_or_default());
            }
        }
        Ok(())
    }

    async fn act(
        &self,
        key: &ObjectKey,
        environment: &Arc<PlatformEnvironment>,
        actions: &[Action],
    ) -> Result<Acted, ReconcileError> {
        let namespace = naming::namespace(&key.namespace, &key.name).unwrap_or_default();
        let subject = Subject { environment, key, namespace: &namespace };
        let before = self.world.newest_revisions(key, environment.metadata.uid.as_deref().unwrap_or_default()).latest;
        let mut acted = self.executor.act(&self.world, subject, actions).await;
        // What was done is told, whatever became of the rest: nobody looks at it a second time.
        for action in actions.iter().zip(&acted.done).filter_map(|(action, done)| done.then_some(action)) {
            self.tell(environment, &namespace, action, before.is_some());
        }
        acted.passing.take().map_or(Ok(acted), Err)
    }

    fn tell(&self, environment: &PlatformEnvironment, namespace: &str, action: &Action, released: bool) {
        match action {
            Action::CreateRevision(record) => {
                let revision = naming::revision(&record.environment, record.revision);
                self.events.send(
                    EventSubject::of(environment),
                    Some(("EnvironmentRevision", &revision)),
                    events::of_revision(record),
                );
            }
            Action::Apply(intent, difference) => {
                let was_there = released && was_there(environment, &intent.id);
                if let Some(event) = events::of_repair(&intent.id, difference, was_there) {
                    let child = (intent.id.kind.as_str(), intent.id.name.as_str());
                    self.events.send(EventSubject::of(environment), Some(child), event);
                }
            }
            Action::RetainNamespace(_) => {
                self.events.send(EventSubject::of(environment), None, events::of_retained(namespace));
            }
            _ => {}
        }
    }

    async fn report(
        &self,
        key: &ObjectKey,
        environment: &PlatformEnvironment,
        rest: Rest,
        now: Timestamp,
    ) -> Result<Next, ReconcileError> {
        if environment.status.clone().map(status::ours).as_ref() != Some(&rest.status) {
            self.write_status(key, environment, &rest.status).await?;
            for event in events::of_status(environment.status.as_ref(), &rest.status) {
                self.events.send(EventSubject::of(environment), None, event);
            }
        }
        let wake = rest.wake.map(|wake| until(wake, now));
        if rest.retry {
            return Ok(Next::Retry(wake));
        }
        Ok(wake.map_or(Next::AwaitChange, Next::After))
    }

    async fn write_status(
        &self,
        key: &ObjectKey,
        environment: &PlatformEnvironment,
        status: &PlatformEnvironmentStatus,
    ) -> Result<(), ReconcileError> {
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": Self::KIND,
            // With the uid: a status is never given to another environment of the same name.
            "metadata": {"name": &*key.name, "uid": environment.metadata.uid},
            "status": status,
        });
        let _reporting = self.reports.begin(key, status);
        let apply = PatchParams::apply(FIELD_MANAGER).force();
        let Some(written) = self.patch_status(key, &apply, &Patch::Apply(body)).await? else { return Ok(()) };
        let correction = written.status.as_ref().and_then(|stored| status::correction(stored, status));
        let written = match correction {
            None => written,
            Some(correction) => self.correct_status(key, written, &correction).await?,
        };
        self.world.environments.written_object(written);
        Ok(())
    }

    /// Takes out of our part of the status what an apply leaves in: what others own there.
    async fn correct_status(
        &self,
        key: &ObjectKey,
        written: PlatformEnvironment,
        correction: &Value,
    ) -> Result<PlatformEnvironment, ReconcileError> {
        // With the resourceVersion: the patch gives all conditions, and must not undo what others wrote since. Their write
        // then leads to the next reconcile.
        let metadata = json!({"uid": written.metadata.uid, "resourceVersion": written.metadata.resource_version});
        let patch = Patch::Merge(json!({"metadata": metadata, "status": correction}));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        Ok(self.patch_status(key, &params, &patch).await?.unwrap_or(written))
    }

    /// `None` if the environment is gone, or another one, or not as the patch takes it.
    async fn patch_status(
        &self,
        key: &ObjectKey,
        params: &PatchParams,
        patch: &Patch<Value>,
    ) -> Result<Option<PlatformEnvironment>, ReconcileError> {
        let api: Api<PlatformEnvironment> = Api::namespaced(self.executor.client().clone(), &key.namespace);
        match api.patch_status(&key.name, params, patch).await {
            Ok(written) => Ok(Some(written)),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(None),
            Err(error) => {
                Err(ReconcileError::kubernetes(format!("write the status of PlatformEnvironment {key}"))(error))
            }
        }
    }
}

impl Reconciler for EnvironmentController {
    const KIND: &'static str = "PlatformEnvironment";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.settle(key).await
    }

    fn generation(&self, key: &ObjectKey) -> Option<i64> {
        self.world.environments.valid(key)?.metadata.generation
    }
}

/// Puts environments into the queue when something that concerns them changes.
fn subscribe(world: &Arc<World>, trigger: &Trigger, waiting: &Arc<Waiting>, reports: &Arc<Reports>) {
    let (wake, waiters, reports) = (trigger.clone(), waiting.clone(), reports.clone());
    world.environments.subscribe(move |key, old, new| {
        if !reports.is_echo(key, old, new) {
            wake.now(key.clone());
        }
        waiters.wake(&Awaited::Environment(key.clone()), &wake);
    });
    let (wake, waiters) = (trigger.clone(), waiting.clone());
    world.versions.subscribe(move |key, _, _| waiters.wake(&Awaited::Version(key.clone()), &wake));
    let (wake, waiters) = (trigger.clone(), waiting.clone());
    world.revisions.subscribe(move |key, _, _| {
        if let Some(environment) = environment_of_revision(key) {
            waiters.wake(&Awaited::Environment(environment.clone()), &wake);
            wake.now(environment);
        }
    });
    let (wake, environments) = (trigger.clone(), world.environments.clone());
    world.projects.subscribe(move |project, _, _| {
        environments.for_each_in(&project.name, |key, _| wake.now(key.clone()));
    });
    for kind in ChildKind::ALL {
        let wake = trigger.clone();
        world.children(kind).subscribe(move |key, old, new| {
            // A new status, of a quota for example, changes nothing that a plan looks at.
            if old == new {
                return;
            }
            let namespace = if key.namespace.is_empty() { &key.name } else { &key.namespace };
            if let Some((project, environment)) = namespace.split_once("--") {
                wake.now(ObjectKey::new(project, environment));
            }
        });
    }
}

/// Whether this child was there when the environment was last reported, so that somebody must have removed it if it is
/// not there now. What other settings of the operator brought about since was not.
fn was_there(environment: &PlatformEnvironment, child: &ChildId) -> bool {
    // With the namespace everything goes, the status says so, and yet it was all there.
    if child.kind == ChildKind::Namespace {
        return true;
    }
    let isolation = environment.status.as_ref().and_then(|status| status.isolation.as_ref());
    is_ready(environment) && isolation.is_some_and(|isolation| children::belongs_to(child, isolation))
}

fn is_ready(environment: &PlatformEnvironment) -> bool {
    let status = environment.status.as_ref();
    let ready =
        status.and_then(|status| status.conditions.iter().find(|found| found.r#type == crate::api::condition::READY));
    let current = status.is_some_and(|status| status.observed_generation == environment.metadata.generation);
    current && ready.is_some_and(|ready| ready.status == crate::api::ConditionStatus::True)
}

fn until(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// What a namespace that is being deleted says about what holds it.
fn report_of(namespace: Namespace) -> NamespaceReport {
    let conditions = namespace.status.and_then(|status| status.conditions).unwrap_or_default();
    let telling = [
        "NamespaceContentRemaining",
        "NamespaceFinalizersRemaining",
        "NamespaceDeletionContentFailure",
        "NamespaceDeletionDiscoveryFailure",
    ];
    let remaining = conditions
        .into_iter()
        .filter(|condition| condition.status == "True" && telling.contains(&condition.type_.as_str()))
        .filter_map(|condition| condition.message)
        .collect();
    NamespaceReport {
        since: namespace.metadata.deletion_timestamp.map(|time| time.0),
        remaining,
        finalizers: namespace.metadata.finalizers.unwrap_or_default(),
    }
}
