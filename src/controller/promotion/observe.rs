//! What a promotion looks at, as the caches say.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Thing;
use crate::{
    api::{Digest, EnvironmentRevision, Promotion},
    controller::world::World,
    domain::promotion::{
        live::{LiveLook, Names},
        snapshot::{ContentDiff, EnvironmentView, Requirements, Rival, Snapshot, VersionView, requirements},
    },
    kube_ext::{cache::Decoded, interest::Interests, key::ObjectKey},
};

/// What a reconcile carries from step to step.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) revisions: BTreeMap<String, Option<EnvironmentRevision>>,
    pub(super) diffs: BTreeMap<(Option<Digest>, Digest), ContentDiff>,
    pub(super) look: Option<LiveLook>,
    pub(super) refusal: Option<String>,
}

impl Live {
    pub(super) fn snapshot<'a>(&'a self, promotion: &'a Promotion, seen: Seen, now: Timestamp) -> Snapshot<'a> {
        let target = seen.environments.get(&promotion.spec.target);
        let fresh = self.look.as_ref().is_some_and(|look| look.covers(&seen.names, promotion, target));
        Snapshot {
            promotion,
            environments: seen.environments,
            requirements: seen.requirements,
            undecodable: seen.undecodable,
            versions: seen.versions,
            rivals: seen.rivals,
            revisions: &self.revisions,
            diffs: &self.diffs,
            fresh,
            refusal: self.refusal.as_deref(),
            now,
        }
    }
}

/// What the caches say.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) names: Names,
    pub(super) environments: BTreeMap<String, EnvironmentView>,
    pub(super) requirements: Requirements,
    pub(super) undecodable: BTreeSet<String>,
    pub(super) versions: BTreeMap<String, VersionView>,
    pub(super) rivals: Vec<Rival>,
}

/// Looks at everything that concerns the promotion, and says before that it does: so no change falls in between.
pub(super) fn look(world: &World, interests: &Interests<Thing>, key: &ObjectKey, promotion: &Promotion) -> Seen {
    let target = ObjectKey::new(key.namespace.clone(), promotion.spec.target.as_str());
    // What else there is to look at follows from the target and its rules, so those come first, and again.
    let first = names(world, &target, promotion);
    interests.set(key, things(&target, &first));
    let names = names(world, &target, promotion);
    interests.set(key, things(&target, &names));
    Seen {
        environments: names
            .environments
            .iter()
            .filter_map(|name| Some((name.clone(), world.view(&target, name)?)))
            .collect(),
        versions: names
            .versions
            .iter()
            .filter_map(|name| {
                let version = world.versions.get(&in_project(&target, name))?;
                Some((name.clone(), version.view().clone()))
            })
            .collect(),
        requirements: requirements(&target.name, |name| {
            world.environments.valid(&in_project(&target, name))?.spec.promotion.clone()
        }),
        undecodable: names
            .environments
            .iter()
            .filter(|name| matches!(world.environments.get(&in_project(&target, name)), Some(Decoded::Invalid(_))))
            .cloned()
            .collect(),
        rivals: world.rivals(&target),
        names,
    }
}

fn names(world: &World, target: &ObjectKey, promotion: &Promotion) -> Names {
    Names::of(promotion, |name| world.view(target, name))
}

fn things(target: &ObjectKey, names: &Names) -> BTreeSet<Thing> {
    let environments = names.environments.iter().map(|name| Thing::Environment(in_project(target, name)));
    let versions = names.versions.iter().map(|name| Thing::Version(in_project(target, name)));
    environments.chain(versions).chain([Thing::Queue(target.clone())]).collect()
}

fn in_project(target: &ObjectKey, name: &str) -> ObjectKey {
    ObjectKey::new(target.namespace.clone(), name)
}
