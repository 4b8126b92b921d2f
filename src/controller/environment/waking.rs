//! What wakes an environment: what it looks at, and who is told when that changes.

use std::{collections::BTreeSet, sync::Arc};

use super::reports::Reports;
use crate::{
    api::PlatformEnvironment,
    controller::{
        run_loop::Trigger,
        world::{World, environment_of_revision, target_of},
    },
    kube_ext::{interest::Interests, key::ObjectKey},
};

/// What an environment looks at beside itself and its children.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Thing {
    /// Another environment, its history included.
    Environment(ObjectKey),
    /// A version.
    Version(ObjectKey),
    /// All versions of a project.
    Versions(Arc<str>),
    /// The promotions into it.
    Queue(ObjectKey),
}

/// What an environment with this spec starts from.
pub(super) fn base_of(key: &ObjectKey, environment: &PlatformEnvironment) -> Option<Thing> {
    let base = environment.spec.base_from.as_ref()?;
    let in_project = |name: &String| ObjectKey::new(key.namespace.clone(), name.as_str());
    let version = base.version.as_ref().map(|name| Thing::Version(in_project(name)));
    version.or_else(|| base.environment.as_ref().map(|name| Thing::Environment(in_project(name))))
}

/// What an environment looks at for promotions that are due by themselves.
pub(super) fn upstream_of(key: &ObjectKey, environment: &PlatformEnvironment) -> BTreeSet<Thing> {
    let Some(rules) = environment.spec.promotion.as_ref().filter(|rules| rules.auto) else { return BTreeSet::new() };
    let in_project = |name: &String| Thing::Environment(ObjectKey::new(key.namespace.clone(), name.as_str()));
    let mut things: BTreeSet<Thing> = rules.from.iter().map(in_project).collect();
    if rules.from.is_empty() {
        things.insert(Thing::Versions(key.namespace.clone()));
    }
    things.insert(Thing::Queue(key.clone()));
    things
}

/// Puts environments into the queue when something that concerns them changes.
pub(super) fn subscribe(
    world: &Arc<World>,
    trigger: &Trigger,
    interests: &Arc<Interests<Thing>>,
    reports: &Arc<Reports>,
) {
    let waker = || {
        let (trigger, interests) = (trigger.clone(), interests.clone());
        move |thing: Thing| interests.in_thing(&thing).into_iter().for_each(|environment| trigger.now(environment))
    };
    let (wake, own, reports) = (waker(), trigger.clone(), reports.clone());
    world.environments.subscribe(move |key, old, new| {
        if !reports.is_echo(key, old, new) {
            own.now(key.clone());
        }
        wake(Thing::Environment(key.clone()));
    });
    let wake = waker();
    world.versions.subscribe(move |key, _, _| {
        wake(Thing::Version(key.clone()));
        wake(Thing::Versions(key.namespace.clone()));
    });
    let (wake, own) = (waker(), trigger.clone());
    world.revisions.subscribe(move |key, _, _| {
        if let Some(environment) = environment_of_revision(key) {
            own.now(environment.clone());
            wake(Thing::Environment(environment));
        }
    });
    let wake = waker();
    world.promotions.subscribe(move |key, old, new| {
        if old.is_some() != new.is_some()
            && let Some(target) = old.or(new).and_then(|promotion| target_of(key, promotion))
        {
            wake(Thing::Queue(target));
        }
    });
    let (wake, environments) = (trigger.clone(), world.environments.clone());
    world.projects.subscribe(move |project, _, _| {
        environments.for_each_in(&project.name, |key, _| wake.now(key.clone()));
    });
    for kind in world.child_kinds() {
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
