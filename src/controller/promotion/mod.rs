//! The promotion controller: observe → plan → act → report.
//!
//! As for environments, a reconcile takes a [`Snapshot`] of what the caches say, asks [`plan()`] for the next step, carries
//! it out and starts over until the plan rests. What only waits costs nothing: it is woken by what it looks at
//! ([`Interests`]), or at exactly the next moment at which time alone changes something.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::DeserializeGuard,
};
use serde_json::json;

use self::observe::{Live, Seen};
use super::{
    commit::{self, Commit},
    diffs::Diffs,
    error::ReconcileError,
    run_loop::{Next, Reconciler, Trigger},
    world::{RevisionEntry, World, environment_of_revision, target_of},
};
use crate::{
    api::{
        ANNOTATION_ENDED, EnvironmentRevision, EnvironmentRevisionSpec, FIELD_MANAGER, Promotion, PromotionPhase,
        PromotionStatus,
    },
    domain::{
        environment,
        promotion::{
            events,
            live::LiveLook,
            plan::{Action, Rest, Step, plan},
            proposal::Needed,
            snapshot::Rival,
            status,
        },
    },
    kube_ext::{
        cache::Decoded,
        errors::describe,
        events::{EventSink, Subject},
        interest::Interests,
        key::ObjectKey,
        status::{self as kube_status, Over},
    },
};

mod observe;
mod refresh;

/// More steps than any promotion needs at a time. Who needs more is overtaken by changes, and tries again.
const MOST_STEPS: usize = 32;
/// After which it tries again.
const SOON: Duration = Duration::from_millis(100);

/// What a promotion looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// An environment: its rules, its state, its history.
    Environment(ObjectKey),
    /// A version.
    Version(ObjectKey),
    /// The promotions into an environment.
    Queue(ObjectKey),
}

/// Reconciles promotions.
pub struct PromotionController {
    client: Client,
    world: Arc<World>,
    diffs: Arc<Diffs>,
    events: EventSink,
    interests: Arc<Interests<Thing>>,
}

impl PromotionController {
    /// A controller over these caches. `trigger` is put on everything that concerns a promotion: call this before the caches
    /// are filled.
    #[must_use]
    pub fn new(client: Client, world: Arc<World>, diffs: Arc<Diffs>, events: EventSink, trigger: &Trigger) -> Self {
        let interests = Arc::new(Interests::default());
        subscribe(&world, trigger, &interests);
        Self { client, world, diffs, events, interests }
    }

    async fn settle(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let mut live = Live::default();
        for _ in 0..MOST_STEPS {
            // One that cannot be read does nothing, and is not ours to judge.
            let Some(promotion) = self.world.promotions.valid(key) else {
                self.interests.set(key, [].into());
                return Ok(Next::AwaitChange);
            };
            let now = Timestamp::now();
            let seen = self.look(key, &promotion);
            let step = plan(&live.snapshot(&promotion, seen, now));
            match step {
                Step::Read(needed) => self.read(key, needed, &mut live).await?,
                Step::Refresh => {
                    live.look = Some(self.refresh(key, &promotion).await?);
                }
                Step::Act(Action::MarkEnd(phase)) => return self.mark_end(key, &promotion, phase).await,
                Step::Act(Action::Delete) => return self.delete(key, &promotion).await,
                Step::Act(Action::Show(shown)) => {
                    if !self.write_status(key, &promotion, &shown).await? {
                        return Ok(Next::After(SOON));
                    }
                }
                Step::Act(Action::Commit(record)) => self.commit(key, &promotion, &record, &mut live).await?,
                Step::Rest(rest) => return self.report(key, &promotion, rest, now).await,
            }
        }
        Ok(Next::Retry(None))
    }

    async fn read(&self, key: &ObjectKey, needed: Needed, live: &mut Live) -> Result<(), ReconcileError> {
        match needed {
            Needed::Revision(name) => {
                let api: Api<EnvironmentRevision> = Api::namespaced(self.client.clone(), &key.namespace);
                let action = format!("read EnvironmentRevision {}/{name}", key.namespace);
                let found = api.get_opt(&name).await.map_err(ReconcileError::kubernetes(action))?;
                if let Some(revision) = found.clone() {
                    self.world.revisions.written(DeserializeGuard(Ok(revision)));
                }
                live.revisions.insert(name, found);
            }
            Needed::Diff(from, to) => {
                let project = &key.namespace;
                let mut diff = self.diffs.between(&self.client, project, from.as_ref(), &to).await?;
                if diff.is_none() && from.is_some() {
                    // What it replaces is not there any more to compare with.
                    diff = self.diffs.between(&self.client, project, None, &to).await?;
                }
                live.diffs.insert((from.map(|from| from.digest), to.digest), diff.unwrap_or_default());
            }
        }
        Ok(())
    }

    async fn commit(
        &self,
        key: &ObjectKey,
        promotion: &Promotion,
        record: &EnvironmentRevisionSpec,
        live: &mut Live,
    ) -> Result<(), ReconcileError> {
        let target = ObjectKey::new(key.namespace.clone(), record.environment.as_str());
        let Some(environment) = self.world.environments.valid(&target) else { return Ok(()) };
        // Whatever comes of it, the next look is another one.
        live.look = None;
        match commit::create_revision(&self.client, &self.world, &environment, record).await? {
            Commit::Done(made) => {
                let revision = environment::naming::revision(&record.environment, record.revision);
                let event = environment::events::of_revision(record);
                self.events.send(Subject::of(&*environment), Some(("EnvironmentRevision", &revision)), event);
                tracing::info!(promotion = ?promotion.metadata.name, %revision, "committed");
                live.revisions.insert(revision, Some(*made));
            }
            // The environment says what is in the way.
            Commit::Lost => {}
            Commit::Former => {
                live.refusal = Some(format!(
                    "The history of a former environment named {} is still there; the environment says what to do",
                    record.environment
                ));
            }
            Commit::Refused(error) => {
                let name = environment::naming::revision(&record.environment, record.revision);
                live.refusal =
                    Some(format!("The API server refused to create EnvironmentRevision {name}: {}", describe(&error)));
            }
        }
        Ok(())
    }

    /// The next reconcile follows from the change that this makes.
    async fn mark_end(
        &self,
        key: &ObjectKey,
        promotion: &Promotion,
        phase: PromotionPhase,
    ) -> Result<Next, ReconcileError> {
        let patch = json!({"metadata": {
            "uid": promotion.metadata.uid,
            "annotations": {ANNOTATION_ENDED: phase.as_str()},
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api: Api<Promotion> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.patch(&key.name, &params, &Patch::Merge(patch)).await {
            Ok(written) => self.world.promotions.written_object(written),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(ReconcileError::kubernetes(format!("mark the end of Promotion {key}"))(error)),
        }
        Ok(Next::AwaitChange)
    }

    async fn delete(&self, key: &ObjectKey, promotion: &Promotion) -> Result<Next, ReconcileError> {
        let metadata = &promotion.metadata;
        let preconditions =
            Preconditions { uid: metadata.uid.clone(), resource_version: metadata.resource_version.clone() };
        let api: Api<Promotion> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.delete(&key.name, &DeleteParams::background().preconditions(preconditions)).await {
            Ok(_) => {}
            // It changed, or is gone: the watch brings it.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(ReconcileError::kubernetes(format!("delete Promotion {key}"))(error)),
        }
        Ok(Next::AwaitChange)
    }

    async fn report(
        &self,
        key: &ObjectKey,
        promotion: &Promotion,
        rest: Rest,
        now: Timestamp,
    ) -> Result<Next, ReconcileError> {
        if !self.write_status(key, promotion, &rest.status).await? {
            return Ok(Next::After(SOON));
        }
        if rest.status.phase.is_some_and(PromotionPhase::is_terminal) {
            self.interests.set(key, [].into());
        }
        Ok(if rest.retry { Next::retry(rest.wake, now) } else { Next::wake(rest.wake, now) })
    }

    /// Writes the status, if it is another one, and tells what is new in it. `false` if the promotion is not any more what
    /// was looked at: what somebody else made of it meanwhile stays, an end above all. The watch brings it.
    async fn write_status(
        &self,
        key: &ObjectKey,
        promotion: &Promotion,
        new: &PromotionStatus,
    ) -> Result<bool, ReconcileError> {
        if promotion.status.clone().map(status::ours).as_ref() == Some(new) {
            return Ok(true);
        }
        let over = Over::State(&promotion.metadata);
        let written = kube_status::report::<Promotion>(&self.client, key, over, new, status::OURS).await;
        let action = format!("write the status of Promotion {key}");
        let Some(written) = written.map_err(ReconcileError::kubernetes(action))? else { return Ok(false) };
        self.world.promotions.written_object(written);
        if let Some(event) = events::of_status(promotion.status.as_ref(), new) {
            self.events.send(Subject::of(promotion), None, event);
        }
        Ok(true)
    }

    /// What the caches say of all that the promotion looks at.
    fn look(&self, key: &ObjectKey, promotion: &Promotion) -> Seen {
        observe::look(&self.world, &self.interests, key, promotion)
    }

    /// Reads all that the promotion looks at live, into the caches.
    async fn refresh(&self, key: &ObjectKey, promotion: &Promotion) -> Result<LiveLook, ReconcileError> {
        let seen = self.look(key, promotion);
        refresh::all(&self.client, &self.world, key, promotion, &seen).await?;
        let target = seen.environments.get(&promotion.spec.target);
        Ok(LiveLook::new(seen.names.clone(), promotion, target))
    }
}

impl Reconciler for PromotionController {
    const KIND: &'static str = "Promotion";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        self.settle(key).await
    }

    fn generation(&self, key: &ObjectKey) -> Option<i64> {
        self.world.promotions.valid(key)?.metadata.generation
    }
}

/// Puts promotions into the queue when something that they look at changes.
fn subscribe(world: &Arc<World>, trigger: &Trigger, interests: &Arc<Interests<Thing>>) {
    let waker = || {
        let (trigger, interests) = (trigger.clone(), interests.clone());
        move |thing: Thing| interests.in_thing(&thing).into_iter().for_each(|promotion| trigger.now(promotion))
    };
    let wake = waker();
    world.environments.subscribe(move |key, _, _| wake(Thing::Environment(key.clone())));
    let wake = waker();
    world.revisions.subscribe(move |key, _, _| {
        if let Some(environment) = environment_of_revision(key) {
            wake(Thing::Environment(environment));
        }
    });
    // Whatever a promotion says of itself: once it has moved something, it has to say that.
    let own = trigger.clone();
    world.revisions.subscribe(move |key, old, new| {
        if let (None, Some(RevisionEntry::Record(record))) = (old, new)
            && let Some(made) = &record.promotion
        {
            own.now(ObjectKey::new(key.namespace.clone(), made.name.as_str()));
        }
    });
    let wake = waker();
    world.versions.subscribe(move |key, _, _| wake(Thing::Version(key.clone())));
    let (wake, own) = (waker(), trigger.clone());
    world.promotions.subscribe(move |key, old, new| {
        own.now(key.clone());
        // Rivals care whether it is one, not what else becomes of it.
        if rival(old) != rival(new)
            && let Some(target) = old.or(new).and_then(|promotion| target_of(key, promotion))
        {
            wake(Thing::Queue(target));
        }
    });
}

fn rival(promotion: Option<&Decoded<Promotion>>) -> Option<Rival> {
    match promotion {
        Some(Decoded::Valid(promotion)) => Rival::of(promotion),
        _ => None,
    }
}
