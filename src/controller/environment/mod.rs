//! The environment controller: observe → plan → act → report.
//!
//! A reconcile takes a [`Snapshot`] of what the caches say, asks [`plan()`] for the next step, carries it out, and
//! starts over until the plan rests. What each write returns goes into the caches at once ([`act`]), so the next
//! snapshot has it. Then the status is reported, if it is another one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::DeserializeGuard};

use self::{
    act::{Acted, Executor, Subject},
    keeper::{Keeper, Known, Visit},
    reports::Reports,
    waking::{Thing, base_of, subscribe, upstream_of},
};
use super::{
    error::ReconcileError,
    run_loop::{Next, Reconciler, Trigger},
    world::{self, World},
};
use crate::{
    api::{EnvironmentRevision, PlatformEnvironment, PlatformEnvironmentStatus},
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
        promotion::auto,
        settings::Settings,
        vault::Trouble,
    },
    kube_ext::{
        cache::Decoded,
        events::{EventSink, Subject as EventSubject},
        interest::Interests,
        key::ObjectKey,
        status::{self as kube_status, Over},
    },
};

pub mod act;
pub mod keeper;
mod reports;
#[cfg(test)]
mod tests;
mod undecodable;
mod waking;

/// More steps than any environment needs. A plan that does not come to rest is a defect, and must not spin.
const MOST_STEPS: usize = 32;

/// When to go on with an environment that is edited faster than it is settled.
const SOON: Duration = Duration::from_millis(200);

/// Reconciles environments.
pub struct EnvironmentController {
    world: Arc<World>,
    settings: Settings,
    executor: Executor,
    vault: Option<Keeper>,
    events: EventSink,
    interests: Arc<Interests<Thing>>,
    reports: Arc<Reports>,
}

/// What a reconcile carries from step to step: what it learned from live reads, and what it worked out.
#[derive(Default)]
struct Live {
    /// Of the environment that it is about: what was learned of another one of the same name says nothing.
    uid: String,
    revisions: BTreeMap<String, Option<EnvironmentRevision>>,
    namespace: Option<NamespaceReport>,
    acted: Acted,
    vault: Known,
    /// It is not its turn at Vault. It is called when it is.
    in_line: bool,
    trouble: Option<Trouble>,
    memo: Memo,
}

impl EnvironmentController {
    /// A controller over these caches. `trigger` is put on everything that concerns an environment: call this before
    /// the caches are filled.
    #[must_use]
    pub fn new(
        client: Client,
        world: Arc<World>,
        settings: Settings,
        vault: Option<Keeper>,
        events: EventSink,
        trigger: &Trigger,
    ) -> Self {
        let (interests, reports) = (Arc::new(Interests::default()), Arc::new(Reports::default()));
        subscribe(&world, trigger, &interests, &reports);
        Self { world, settings, executor: Executor::new(client), vault, events, interests, reports }
    }

    async fn settle(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let mut live = Live::default();
        // Whatever becomes of the environment: a turn that is kept for it goes on to the next one.
        let mut visit = self.vault.as_ref().map(|vault| vault.visit(key));
        let (mut steps, mut began_with) = (0, None);
        loop {
            let Some(environment) = self.environment(key).await? else {
                self.interests.set(key, BTreeSet::new());
                self.forget(key);
                return Ok(Next::AwaitChange);
            };
            let uid = environment.metadata.uid.as_deref().unwrap_or_default();
            if live.uid != uid {
                let vault = self.vault.as_ref().map(|vault| vault.known(key, uid)).unwrap_or_default();
                live = Live { uid: uid.to_owned(), vault, ..Live::default() };
            }
            let generation = environment.metadata.generation;
            let edited = *began_with.get_or_insert(generation) != generation;
            if steps == MOST_STEPS && edited {
                return Ok(Next::After(SOON));
            }
            let now = Timestamp::now();
            let snapshot = self.observe(key, &environment, &live, now);
            let step =
                if steps < MOST_STEPS { plan(&snapshot) } else { Step::Rest(Box::new(restless(&snapshot, steps))) };
            drop(snapshot);
            match step {
                Step::Read(read) => {
                    self.read(key, &environment, &read, &mut live).await?;
                }
                step @ (Step::LookIntoVault(_) | Step::ChangeVault(_)) => match visit.as_mut().and_then(Visit::turn) {
                    Some(since) => self.go_to_vault(key, &environment, step, since, &mut live).await,
                    None => live.in_line = true,
                },
                Step::Act(actions) => {
                    live.acted = self.act(key, &environment, &actions).await?;
                    live.namespace = None;
                }
                Step::Rest(rest) => {
                    if visit.is_some_and(|visit| visit.had_turn()) || has_secrets(&rest.status) {
                        self.leave_vault(key, &mut live);
                    }
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
        let world::Known { history, unreadable } = self.world.history(key, uid);
        // The wish to be woken comes before the look, so that no change falls in between.
        let base = base_of(key, environment).filter(|_| history.newest().is_none());
        self.interests.set(key, upstream_of(key, environment).into_iter().chain(base.clone()).collect());
        let base = base.map_or(Base::Nothing, |base| self.base(key, base));
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
            history,
            on_their_way: self.world.rivals(key),
            auto: self.auto(key, environment),
            unreadable: unreadable.map(|number| naming::revision(&key.name, number)),
            base,
            revisions: &live.revisions,
            children,
            namespace: live.namespace.as_ref(),
            failures: &live.acted.failures,
            vault: self.vault.as_ref().map(|_| self.vault_view(key, environment, live)),
            memo: &live.memo,
            now,
        }
    }

    /// What a promotion could be made of that is due by itself.
    fn auto(&self, key: &ObjectKey, environment: &PlatformEnvironment) -> Option<auto::Inputs> {
        let rules = environment.spec.promotion.as_ref().filter(|rules| rules.auto)?;
        let mut inputs = auto::Inputs { promotions: self.world.promotions_into(key), ..auto::Inputs::default() };
        if rules.from.is_empty() {
            self.world.versions.for_each_in(&key.namespace, |_, held| inputs.published.push(held.value.view().clone()));
        }
        inputs.upstream = rules.from.iter().filter_map(|name| self.world.view(key, name)).collect();
        Some(inputs)
    }

    /// What the environment starts from.
    fn base(&self, key: &ObjectKey, base: Thing) -> Base {
        match base {
            Thing::Version(version) => {
                let reference = self.world.versions.get(&version).map(|record| record.reference().clone());
                Base::Version(version.name.to_string(), reference)
            }
            Thing::Environment(base) => {
                let found = self.world.environments.valid(&base);
                let uid = found.as_ref().and_then(|found| found.metadata.uid.clone()).unwrap_or_default();
                Base::Environment(BaseEnvironment {
                    name: base.name.to_string(),
                    exists: found.is_some(),
                    terminating: found.is_some_and(|found| found.metadata.deletion_timestamp.is_some()),
                    latest: self.world.history(&base, &uid).history.newest().cloned(),
                    circle: self.circle(key),
                })
            }
            Thing::Versions(_) | Thing::Queue(_) => Base::Nothing,
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
            let released = self.world.history(&next, uid).history.newest().is_some();
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
        environment: &PlatformEnvironment,
        read: &Read,
        live: &mut Live,
    ) -> Result<(), ReconcileError> {
        let client = self.executor.client().clone();
        let environment_uid = environment.metadata.uid.as_deref().unwrap_or_default();
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
        let uid = environment.metadata.uid.as_deref().unwrap_or_default();
        let released = self.world.history(key, uid).history.newest().is_some();
        let mut acted = self.executor.act(&self.world, subject, actions).await;
        // What was done is told, whatever became of the rest: nobody looks at it a second time.
        for action in actions.iter().zip(&acted.done).filter_map(|(action, done)| done.then_some(action)) {
            self.tell(environment, &namespace, action, released);
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
            if !self.write_status(key, environment, &rest.status).await? {
                return Ok(Next::After(SOON));
            }
            for event in events::of_status(environment.status.as_ref(), &rest.status) {
                self.events.send(EventSubject::of(environment), None, event);
            }
        }
        Ok(if rest.retry { Next::retry(rest.wake, now) } else { Next::wake(rest.wake, now) })
    }

    /// Writes the status. `false` if the environment is not any more what was looked at: an operator that is behind must not
    /// take a release back that another one published. The watch brings what has changed.
    async fn write_status(
        &self,
        key: &ObjectKey,
        environment: &PlatformEnvironment,
        new: &PlatformEnvironmentStatus,
    ) -> Result<bool, ReconcileError> {
        let _reporting = self.reports.begin(key, new);
        let (client, over) = (self.executor.client(), Over::State(&environment.metadata));
        let written = kube_status::report::<PlatformEnvironment>(client, key, over, new, status::OURS).await;
        let action = format!("write the status of PlatformEnvironment {key}");
        let Some(written) = written.map_err(ReconcileError::kubernetes(action))? else { return Ok(false) };
        self.world.environments.written_object(written);
        Ok(true)
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

/// Whether this child was there when the environment was last reported, so that somebody must have removed it if it is
/// not there now. What other settings of the operator brought about since was not.
fn was_there(environment: &PlatformEnvironment, child: &ChildId) -> bool {
    // With the namespace everything goes, the status says so, and yet it was all there.
    if child.kind == ChildKind::Namespace {
        return true;
    }
    // The content of a release that is only on its way was never there, and neither was what other settings ask for.
    let belongs = environment.status.as_ref().is_some_and(|status| children::belongs_to(child, status));
    is_ready(environment) && belongs
}

/// Whether nothing is wrong with the environment's secrets.
fn has_secrets(status: &PlatformEnvironmentStatus) -> bool {
    let ready = status.conditions.iter().find(|found| found.r#type == crate::api::condition::SECRETS_READY);
    ready.is_some_and(|ready| ready.status == crate::api::ConditionStatus::True)
}

fn is_ready(environment: &PlatformEnvironment) -> bool {
    let status = environment.status.as_ref();
    let ready =
        status.and_then(|status| status.conditions.iter().find(|found| found.r#type == crate::api::condition::READY));
    let current = status.is_some_and(|status| status.observed_generation == environment.metadata.generation);
    current && ready.is_some_and(|ready| ready.status == crate::api::ConditionStatus::True)
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
