//! What the controllers know of the cluster: one cache per kind, each holding as little as will do.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{
    Resource as _,
    api::DynamicObject,
    core::{ApiResource, DeserializeGuard, ObjectMeta, PartialObjectMeta},
};
use serde_json::Value;

use crate::{
    api::{
        ANNOTATION_INTENT, EnvironmentRevision, FIELD_MANAGER, LABEL_ENVIRONMENT_UID, LABEL_PROJECT_ID,
        PlatformEnvironment, RevisionNumber,
    },
    domain::{
        environment::{
            children::{ChildId, ChildKind, IntentMark},
            ownership::{OtherManager, OwnedFields},
            snapshot::Child,
        },
        revision::RevisionRecord,
    },
    kube_ext::{
        cache::{Cache, Decoded, Held, Record},
        key::{ObjectKey, Stamp, Uid},
    },
};

/// The caches that the environment controller reads.
#[derive(Debug)]
pub struct World {
    /// Environments, whole.
    pub environments: Cache<Decoded<PlatformEnvironment>>,
    /// Versions, without their content.
    pub versions: Cache<crate::controller::version::VersionRecord>,
    /// Revisions, without their configuration.
    pub revisions: Cache<RevisionEntry>,
    /// The namespaces of projects that have an id.
    pub projects: Cache<ProjectRecord>,
    /// The children of all environments, by kind.
    children: BTreeMap<ChildKind, Cache<Tracked>>,
    doubts: Arc<Doubts>,
    history: Arc<History>,
}

impl World {
    /// Empty caches.
    #[must_use]
    pub fn new() -> Self {
        let revisions: Cache<RevisionEntry> = Cache::new();
        let history = Arc::new(History::default());
        let index = history.clone();
        revisions.subscribe(move |key, old, new| index.change(key, old, new));
        let doubts = Arc::new(Doubts::default());
        Self {
            environments: Cache::new(),
            versions: Cache::new(),
            revisions,
            projects: Cache::new(),
            children: ChildKind::ALL.into_iter().map(|kind| (kind, doubtful(kind, &doubts))).collect(),
            doubts,
            history,
        }
    }

    /// The cache of one kind of children.
    #[must_use]
    pub fn children(&self, kind: ChildKind) -> &Cache<Tracked> {
        // Every kind was put in by `new`; the map has no other way of being filled.
        &self.children[&kind]
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

    /// The newest revision of an environment and the one before it, newest first.
    #[must_use]
    pub fn newest_revisions(&self, environment: &ObjectKey, environment_uid: &str) -> Newest {
        self.history.newest(environment, environment_uid)
    }

    /// Whether there are revisions under the environment's name that are not its own.
    #[must_use]
    pub fn has_former_history(&self, environment: &ObjectKey, environment_uid: &str) -> bool {
        self.history.has_former(environment, environment_uid)
    }

    /// Waits until every cache is filled.
    pub async fn wait_until_ready(&self) {
        self.environments.wait_until_ready().await;
        self.versions.wait_until_ready().await;
        self.revisions.wait_until_ready().await;
        self.projects.wait_until_ready().await;
        for cache in self.children.values() {
            cache.wait_until_ready().await;
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Kind, group and plural name of a kind of children, for requests.
#[must_use]
pub fn resource(kind: ChildKind) -> ApiResource {
    let api_version = kind.api_version();
    ApiResource {
        group: api_version.split_once('/').map_or("", |(group, _)| group).to_owned(),
        version: "v1".to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.as_str().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// What is kept of a child: whose it is, and whether it is as we left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    environment_uid: Uid,
    mark: Option<u64>,
    owned: Option<OwnedFields>,
    /// When our fields were last written with other values, in Unix time.
    written_at: Option<i64>,
    terminating: bool,
    others: Vec<OtherManager>,
}

impl Tracked {
    /// Reads a child's metadata. `None` if it names no environment, by our own annotation or by label.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let ours = our_entry(metadata).and_then(fields_of);
        let mark = annotation(metadata, ANNOTATION_INTENT).filter(|_| ours.is_some_and(owns_the_mark));
        let labelled =
            metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_ENVIRONMENT_UID)).map(String::as_str);
        let mark = mark.map(IntentMark::read);
        // The mark first: it is ours by `managedFields`, while anybody may have written another UID into the label.
        let environment_uid = mark.as_ref().map(IntentMark::environment_uid).or(labelled)?;
        Some(Self { mark: mark.as_ref().map(IntentMark::hash), ..Self::disguised(metadata, environment_uid) })
    }

    /// A child of this environment whose metadata does not say so.
    #[must_use]
    pub fn disguised(metadata: &ObjectMeta, environment_uid: &str) -> Self {
        let ours = our_entry(metadata);
        Self {
            environment_uid: environment_uid.into(),
            mark: None,
            owned: ours.and_then(fields_of).map(OwnedFields::of_fields),
            written_at: ours.and_then(|entry| entry.time.as_ref()).map(|time| time.0.as_second()),
            terminating: metadata.deletion_timestamp.is_some(),
            others: other_managers(metadata),
        }
    }

    /// Whether somebody wrote other values into our fields in our name. The API server sets the time of our entry when a
    /// value of it changes. An apply of ours that changes a value changes the mark too, or puts right what was lost.
    fn is_rewritten_as(&self, new: &Self) -> bool {
        let looks_the_same = self.mark.is_some() && self.mark == new.mark && self.owned == new.owned;
        looks_the_same && self.written_at != new.written_at
    }

    /// Whether the child belongs to this environment.
    #[must_use]
    pub fn belongs_to(&self, environment_uid: &str) -> bool {
        self.environment_uid == Uid::from(environment_uid)
    }

    /// The fields that are ours.
    #[must_use]
    pub fn owned(&self) -> Option<OwnedFields> {
        self.owned
    }

    /// The child as a plan sees it.
    #[must_use]
    pub fn as_child(&self, id: ChildId, uid: &Uid) -> Child {
        Child {
            id,
            uid: uid.clone(),
            mark: self.mark,
            owned: self.owned,
            terminating: self.terminating,
            others: self.others.clone(),
        }
    }
}

impl Record for Tracked {
    type Object = PartialObjectMeta<DynamicObject>;

    fn from_object(object: Self::Object) -> Option<Self> {
        Self::of(&object.metadata)
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref().and_then(|annotations| annotations.get(name)).map(String::as_str)
}

/// Children that somebody changed in our name. Their metadata looks as we left it, so they are remembered until our next
/// apply. An operator that was not there at the time does not know of it.
#[derive(Debug, Default)]
struct Doubts(Mutex<BTreeSet<(ChildKind, ObjectKey)>>);

impl Doubts {
    fn about(&self, kind: ChildKind, key: &ObjectKey) -> bool {
        let doubts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !doubts.is_empty() && doubts.contains(&(kind, key.clone()))
    }

    fn change(&self, kind: ChildKind, key: &ObjectKey, old: Option<&Tracked>, new: Option<&Tracked>) {
        match (old, new) {
            (Some(old), Some(new)) if old.is_rewritten_as(new) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, key.clone()));
            }
            (_, None) => self.end(kind, key),
            _ => {}
        }
    }

    fn end(&self, kind: ChildKind, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key.clone()));
    }
}

/// A cache of children that notes which of them are in doubt.
fn doubtful(kind: ChildKind, doubts: &Arc<Doubts>) -> Cache<Tracked> {
    let (cache, doubts) = (Cache::new(), doubts.clone());
    cache.subscribe(move |key, old, new| doubts.change(kind, key, old, new));
    cache
}

/// What the API server says of our own applies.
fn our_entry(metadata: &ObjectMeta) -> Option<&ManagedFieldsEntry> {
    metadata.managed_fields.iter().flatten().find(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.is_none()
    })
}

fn fields_of(entry: &ManagedFieldsEntry) -> Option<&Value> {
    entry.fields_v1.as_ref().map(|fields| &fields.0)
}

fn owns_the_mark(fields: &Value) -> bool {
    !fields["f:metadata"]["f:annotations"][format!("f:{ANNOTATION_INTENT}")].is_null()
}

/// The managers other than us, the last one at the end. Status is nobody's drift.
fn other_managers(metadata: &ObjectMeta) -> Vec<OtherManager> {
    let entries = metadata.managed_fields.iter().flatten();
    let others = entries.filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER) && entry.subresource.is_none());
    let mut others: Vec<_> = others.collect();
    others.sort_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let named =
        |entry: &ManagedFieldsEntry| Some(OtherManager::new(entry.manager.as_deref()?, &entry.fields_v1.as_ref()?.0));
    others.into_iter().filter_map(named).collect()
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

/// What is kept of a revision.
#[derive(Clone, Debug)]
pub enum RevisionEntry {
    /// A record of the environment that its name names.
    Record(Arc<RevisionRecord>),
    /// Something that does not decode, or whose name and content differ. It holds its number: going by the record
    /// before it would roll back without a word.
    Unreadable {
        /// The environment's UID, if it names one.
        environment_uid: Option<Box<str>>,
        /// The number in its name.
        number: RevisionNumber,
    },
}

impl RevisionEntry {
    /// The number in its name.
    #[must_use]
    pub fn number(&self) -> RevisionNumber {
        match self {
            Self::Record(record) => record.number,
            Self::Unreadable { number, .. } => *number,
        }
    }

    /// Whether it belongs to this environment, or to nobody knows whom.
    #[must_use]
    pub fn belongs_to(&self, environment_uid: &str) -> bool {
        match self {
            Self::Record(record) => &*record.environment_uid == environment_uid,
            Self::Unreadable { environment_uid: uid, .. } => uid.as_deref().is_none_or(|uid| uid == environment_uid),
        }
    }
}

impl Record for RevisionEntry {
    type Object = DeserializeGuard<EnvironmentRevision>;

    fn from_object(object: Self::Object) -> Option<Self> {
        let (environment, number) = object.meta().name.as_deref()?.rsplit_once('-')?;
        let number = RevisionNumber::new(number.parse().ok()?)?;
        let labels = object.meta().labels.as_ref();
        let environment_uid =
            labels.and_then(|labels| labels.get(LABEL_ENVIRONMENT_UID)).map(|uid| uid.as_str().into());
        Some(match &object.0 {
            Ok(revision) if revision.spec.environment == environment && revision.spec.revision == number => {
                Self::Record(Arc::new(RevisionRecord::from(revision)))
            }
            _ => Self::Unreadable { environment_uid, number },
        })
    }
}

/// The environment that a revision belongs to, by the revision's name.
#[must_use]
pub fn environment_of_revision(revision: &ObjectKey) -> Option<ObjectKey> {
    let (environment, _) = revision.name.rsplit_once('-')?;
    Some(ObjectKey::new(revision.namespace.clone(), environment))
}

/// The newest revisions of an environment.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest.
    pub latest: Option<Arc<RevisionRecord>>,
    /// The one before it.
    pub previous: Option<Arc<RevisionRecord>>,
    /// The number of one that is newer than both and cannot be read.
    pub unreadable: Option<RevisionNumber>,
}

/// The revisions of each environment by number: finding the newest must not cost more the more there are.
#[derive(Debug, Default)]
struct History(RwLock<HashMap<ObjectKey, BTreeMap<RevisionNumber, RevisionEntry>>>);

impl History {
    fn change(&self, revision: &ObjectKey, old: Option<&RevisionEntry>, new: Option<&RevisionEntry>) {
        let Some(environment) = environment_of_revision(revision) else { return };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let of_environment = all.entry(environment.clone()).or_default();
        if let Some(old) = old {
            of_environment.remove(&old.number());
        }
        if let Some(new) = new {
            of_environment.insert(new.number(), new.clone());
        }
        if of_environment.is_empty() {
            all.remove(&environment);
        }
    }

    fn newest(&self, environment: &ObjectKey, uid: &str) -> Newest {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(environment).into_iter().flat_map(|revisions| revisions.values().rev());
        let mut newest = Newest::default();
        for entry in own.filter(|entry| entry.belongs_to(uid)) {
            match entry {
                RevisionEntry::Unreadable { number, .. } if newest.latest.is_none() => {
                    newest.unreadable = Some(*number);
                }
                RevisionEntry::Unreadable { .. } => {}
                RevisionEntry::Record(record) if newest.latest.is_none() => newest.latest = Some(record.clone()),
                RevisionEntry::Record(record) => {
                    newest.previous = Some(record.clone());
                    break;
                }
            }
        }
        newest
    }

    fn has_former(&self, environment: &ObjectKey, uid: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(environment).is_some_and(|revisions| revisions.values().any(|entry| !entry.belongs_to(uid)))
    }
}
