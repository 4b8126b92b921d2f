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
        PlatformEnvironment, Promotion, RevisionNumber, version::InEnvironment,
    },
    domain::{
        environment::{
            children::{ChildId, ChildKind, IntentMark},
            naming,
            ownership::{OtherManager, OwnedFields},
            snapshot::Child,
        },
        promotion::snapshot::{EnvironmentView, Rival},
        revision::{History, RevisionRecord},
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
    /// Empty caches.
    #[must_use]
    pub fn new() -> Self {
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
            children: ChildKind::ALL.into_iter().map(|kind| (kind, doubtful(kind, &doubts))).collect(),
            doubts,
            histories,
            targets,
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

    /// The version that it names.
    #[must_use]
    pub fn version_in(&self, project: &Arc<str>) -> Option<ObjectKey> {
        match self {
            Self::Record(record) => {
                let version = record.version.as_ref()?;
                Some(ObjectKey::new(project.clone(), version.name.as_str()))
            }
            Self::Unreadable { .. } => None,
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
        // Written as we write it: 02 is no other name for 2.
        let number = RevisionNumber::new(number.parse().ok()?).filter(|parsed| parsed.to_string() == number)?;
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

/// What is known of an environment's history.
#[derive(Debug, Default)]
pub struct Known {
    /// The revisions that can be read.
    pub history: History,
    /// The number of one that is newer than these and cannot be read.
    pub unreadable: Option<RevisionNumber>,
}

/// Where a version is used.
#[derive(Debug, Default)]
pub struct Uses {
    /// Environments whose newest revision names it, sorted by name.
    pub environments: Vec<InEnvironment>,
    /// The names of all revisions that name it, sorted.
    pub revisions: Vec<String>,
}

/// The revisions of each environment by number, and of each version: finding them must not cost more the more there are.
#[derive(Debug, Default)]
struct Histories(RwLock<Indexes>);

#[derive(Debug, Default)]
struct Indexes {
    by_environment: HashMap<ObjectKey, BTreeMap<RevisionNumber, RevisionEntry>>,
    /// Environment and number of each revision that names the version.
    by_version: HashMap<ObjectKey, BTreeSet<(Arc<str>, RevisionNumber)>>,
}

impl Histories {
    fn change(&self, revision: &ObjectKey, old: Option<&RevisionEntry>, new: Option<&RevisionEntry>) {
        let Some(environment) = environment_of_revision(revision) else { return };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = old {
            all.remove(&environment, old);
        }
        if let Some(new) = new {
            all.insert(&environment, new);
        }
    }

    fn of(&self, environment: &ObjectKey, uid: &str) -> Known {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let own = all.by_environment.get(environment).into_iter().flat_map(|revisions| revisions.values().rev());
        let mut known = Known::default();
        let mut records = vec![];
        for entry in own.filter(|entry| entry.belongs_to(uid)) {
            match entry {
                RevisionEntry::Unreadable { number, .. } if records.is_empty() => known.unreadable = Some(*number),
                RevisionEntry::Unreadable { .. } => {}
                RevisionEntry::Record(record) => records.push(record.clone()),
            }
        }
        known.history = History::new(records);
        known
    }

    fn newest_versions(&self, environment: &ObjectKey) -> Vec<ObjectKey> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let newest = all.by_environment.get(environment).into_iter().flat_map(|all| all.values().rev().take(2));
        newest.filter_map(|entry| entry.version_in(&environment.namespace)).collect()
    }

    fn has_former(&self, environment: &ObjectKey, uid: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.by_environment
            .get(environment)
            .is_some_and(|revisions| revisions.values().any(|entry| !entry.belongs_to(uid)))
    }

    fn uses(&self, version: &ObjectKey) -> Uses {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut uses = Uses::default();
        for (environment, number) in all.by_version.get(version).into_iter().flatten() {
            uses.revisions.push(format!("{environment}-{number}"));
            let key = ObjectKey::new(version.namespace.clone(), environment.clone());
            let newest = all.by_environment.get(&key).and_then(|revisions| revisions.keys().next_back());
            if newest == Some(number) {
                uses.environments.push(InEnvironment { name: environment.to_string(), revision: *number });
            }
        }
        uses
    }
}

impl Indexes {
    fn insert(&mut self, environment: &ObjectKey, entry: &RevisionEntry) {
        self.by_environment.entry(environment.clone()).or_default().insert(entry.number(), entry.clone());
        if let Some(version) = entry.version_in(&environment.namespace) {
            self.by_version.entry(version).or_default().insert((environment.name.clone(), entry.number()));
        }
    }

    fn remove(&mut self, environment: &ObjectKey, entry: &RevisionEntry) {
        if let Some(revisions) = self.by_environment.get_mut(environment) {
            revisions.remove(&entry.number());
            if revisions.is_empty() {
                self.by_environment.remove(environment);
            }
        }
        let Some(version) = entry.version_in(&environment.namespace) else { return };
        if let Some(users) = self.by_version.get_mut(&version) {
            users.remove(&(environment.name.clone(), entry.number()));
            if users.is_empty() {
                self.by_version.remove(&version);
            }
        }
    }
}

/// Promotions by name; those that have ended as names only.
type Promotions = BTreeMap<Arc<str>, Option<Rival>>;

/// The promotions into each environment.
#[derive(Debug, Default)]
struct Targets(RwLock<HashMap<ObjectKey, Promotions>>);

impl Targets {
    fn change(&self, promotion: &ObjectKey, old: Option<&Decoded<Promotion>>, new: Option<&Decoded<Promotion>>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = old.and_then(|old| target_of(promotion, old))
            && let Some(promotions) = all.get_mut(&target)
        {
            promotions.remove(&promotion.name);
            if promotions.is_empty() {
                all.remove(&target);
            }
        }
        if let Some(Decoded::Valid(new)) = new {
            let target = ObjectKey::new(promotion.namespace.clone(), new.spec.target.as_str());
            all.entry(target).or_default().insert(promotion.name.clone(), Rival::of(new));
        }
    }

    fn rivals(&self, target: &ObjectKey) -> Vec<Rival> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
    }

    fn names(&self, target: &ObjectKey) -> BTreeSet<String> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).into_iter().flat_map(BTreeMap::keys).map(ToString::to_string).collect()
    }
}

/// The environment that a promotion is into.
#[must_use]
pub fn target_of(promotion: &ObjectKey, decoded: &Decoded<Promotion>) -> Option<ObjectKey> {
    match decoded {
        Decoded::Valid(valid) => Some(ObjectKey::new(promotion.namespace.clone(), valid.spec.target.as_str())),
        Decoded::Invalid(_) => None,
    }
}
