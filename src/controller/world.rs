//! What the controllers know of the cluster: one cache per kind, each holding as little as will do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kube::{
    api::DynamicObject,
    core::{ApiResource, PartialObjectMeta},
};

use self::{
    children::{Doubts, doubtful},
    promotions::Targets,
    revisions::Histories,
};
use super::version::VersionRecord;
use crate::{
    api::{LABEL_PROJECT_ID, PlatformEnvironment, Promotion},
    domain::{
        environment::{
            children::{ChildId, ChildKind},
            naming,
            ownership::OwnedFields,
            snapshot::Child,
        },
        promotion::snapshot::{EnvironmentView, Rival},
    },
    kube_ext::{
        cache::{Cache, Decoded, Held, Record},
        key::{ObjectKey, Stamp, Uid},
    },
};

mod children;
mod promotions;
mod revisions;

pub use self::{
    children::Tracked,
    promotions::target_of,
    revisions::{Known, RevisionEntry, Uses, environment_of_revision},
};

/// The caches that the controllers read.
#[derive(Debug)]
pub struct World {
    /// Environments, whole.
    pub environments: Cache<Decoded<PlatformEnvironment>>,
    /// Versions, without their content.
    pub versions: Cache<VersionRecord>,
    /// Revisions, without their configuration.
    pub revisions: Cache<RevisionEntry>,
    /// Promotions, whole.
    pub promotions: Cache<Decoded<Promotion>>,
    /// The namespaces of projects that have an id.
    pub projects: Cache<ProjectRecord>,
    /// The children of all environments, by kind.
    children: BTreeMap<ChildKind, Cache<Tracked>>,
    doubts: Arc<Doubts>,
    histories: Arc<Histories>,
    targets: Arc<Targets>,
}

impl World {
    /// Empty caches. `secrets` are the kinds that a secrets operator executes, where one is installed.
    #[must_use]
    pub fn new(secrets: &[ChildKind]) -> Self {
        let revisions: Cache<RevisionEntry> = Cache::new();
        let histories = Arc::new(Histories::default());
        let index = histories.clone();
        revisions.subscribe(move |key, old, new| index.change(key, old, new));
        let promotions: Cache<Decoded<Promotion>> = Cache::new();
        let targets = Arc::new(Targets::default());
        let index = targets.clone();
        promotions.subscribe(move |key, old, new| index.change(key, old, new));
        let doubts = Arc::new(Doubts::default());
        Self {
            environments: Cache::new(),
            versions: Cache::new(),
            revisions,
            promotions,
            projects: Cache::new(),
            children: ChildKind::ALL
                .iter()
                .chain(secrets)
                .copied()
                .map(|kind| (kind, doubtful(kind, &doubts)))
                .collect(),
            doubts,
            histories,
            targets,
        }
    }

    /// The cache of one kind of children.
    #[must_use]
    pub fn children(&self, kind: ChildKind) -> &Cache<Tracked> {
        // Every kind that is used was put in by `new`; the map has no other way of being filled.
        &self.children[&kind]
    }

    /// The kinds of children that are watched.
    pub fn child_kinds(&self) -> impl Iterator<Item = ChildKind> + '_ {
        self.children.keys().copied()
    }

    /// The children in an environment's namespace, and the namespace itself, that carry the environment's UID.
    #[must_use]
    pub fn children_of(&self, namespace: &str, environment_uid: &str) -> Vec<Child> {
        let uid = Uid::from(environment_uid);
        let mut children = vec![];
        for (kind, cache) in &self.children {
            let mut take = |key: &ObjectKey, held: &Held<Tracked>| {
                if held.value.environment_uid == uid {
                    let id = ChildId { kind: *kind, name: key.name.to_string() };
                    let mut child = held.value.as_child(id, &held.stamp.uid);
                    if self.doubts.about(*kind, key) {
                        child.owned = Some(OwnedFields::none());
                    }
                    children.push(child);
                }
            };
            if *kind == ChildKind::Namespace {
                let key = ObjectKey::cluster(namespace);
                if let Some(held) = cache.held(&key) {
                    take(&key, &held);
                }
            } else {
                cache.for_each_in(namespace, take);
            }
        }
        children
    }

    /// Takes in what an apply of ours returned: if that is still the newest state, the child is as intended.
    pub fn applied(&self, kind: ChildKind, written: PartialObjectMeta<DynamicObject>) {
        let (key, stamp) = (ObjectKey::of(&written.metadata), Stamp::of(&written.metadata));
        let cache = self.children(kind);
        cache.written(written);
        if let (Some(key), Some(stamp)) = (key, stamp)
            && cache.held(&key).is_some_and(|held| held.stamp == stamp)
        {
            self.doubts.end(kind, &key);
        }
    }

    /// The history of an environment.
    #[must_use]
    pub fn history(&self, environment: &ObjectKey, environment_uid: &str) -> Known {
        self.histories.of(environment, environment_uid)
    }

    /// The versions of an environment's two newest revisions: one may just have come, the other one gone, or the other way
    /// round.
    #[must_use]
    pub fn newest_versions(&self, environment: &ObjectKey) -> Vec<ObjectKey> {
        self.histories.newest_versions(environment)
    }

    /// An environment of the same project with its history, as a promotion sees it.
    #[must_use]
    pub fn view(&self, beside: &ObjectKey, name: &str) -> Option<EnvironmentView> {
        let key = ObjectKey::new(beside.namespace.clone(), name);
        let environment = self.environments.valid(&key)?;
        let uid = environment.metadata.uid.as_deref().unwrap_or_default();
        let Known { history, unreadable } = self.history(&key, uid);
        let unreadable = unreadable.map(|number| naming::revision(name, number));
        Some(EnvironmentView { environment, history, unreadable })
    }

    /// Where a version is, and which revisions name it.
    #[must_use]
    pub fn uses(&self, version: &ObjectKey) -> Uses {
        self.histories.uses(version)
    }

    /// The promotions into an environment that have not ended.
    #[must_use]
    pub fn rivals(&self, target: &ObjectKey) -> Vec<Rival> {
        self.targets.rivals(target)
    }

    /// The names of all promotions into an environment.
    #[must_use]
    pub fn promotions_into(&self, target: &ObjectKey) -> BTreeSet<String> {
        self.targets.names(target)
    }

    /// Whether there are revisions under the environment's name that are not its own.
    #[must_use]
    pub fn has_former_history(&self, environment: &ObjectKey, environment_uid: &str) -> bool {
        self.histories.has_former(environment, environment_uid)
    }

    /// Waits until every cache is filled.
    pub async fn wait_until_ready(&self) {
        self.environments.wait_until_ready().await;
        self.versions.wait_until_ready().await;
        self.revisions.wait_until_ready().await;
        self.promotions.wait_until_ready().await;
        self.projects.wait_until_ready().await;
        for cache in self.children.values() {
            cache.wait_until_ready().await;
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(&[])
    }
}

/// Kind, group and plural name of a kind of children, for requests.
#[must_use]
pub fn resource(kind: ChildKind) -> ApiResource {
    let api_version = kind.api_version();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.as_str().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// What is kept of a project's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRecord {
    /// The project's id in the platform.
    pub id: Arc<str>,
}

impl Record for ProjectRecord {
    type Object = PartialObjectMeta<DynamicObject>;

    fn from_object(object: Self::Object) -> Option<Self> {
        let id = object.metadata.labels.as_ref()?.get(LABEL_PROJECT_ID)?;
        Some(Self { id: id.as_str().into() })
    }
}
