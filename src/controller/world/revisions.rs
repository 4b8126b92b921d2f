//! What is kept of the revisions, and how those of an environment or a version are found.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use kube::{Resource as _, core::DeserializeGuard};

use crate::{
    api::{EnvironmentRevision, LABEL_ENVIRONMENT_UID, RevisionNumber, version::InEnvironment},
    domain::revision::{History, RevisionRecord},
    kube_ext::{cache::Record, key::ObjectKey},
};

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
pub(super) struct Histories(RwLock<Indexes>);

#[derive(Debug, Default)]
struct Indexes {
    by_environment: HashMap<ObjectKey, BTreeMap<RevisionNumber, RevisionEntry>>,
    /// Environment and number of each revision that names the version.
    by_version: HashMap<ObjectKey, BTreeSet<(Arc<str>, RevisionNumber)>>,
}

impl Histories {
    pub(super) fn change(&self, revision: &ObjectKey, old: Option<&RevisionEntry>, new: Option<&RevisionEntry>) {
        let Some(environment) = environment_of_revision(revision) else { return };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = old {
            all.remove(&environment, old);
        }
        if let Some(new) = new {
            all.insert(&environment, new);
        }
    }

    pub(super) fn of(&self, environment: &ObjectKey, uid: &str) -> Known {
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

    pub(super) fn newest_versions(&self, environment: &ObjectKey) -> Vec<ObjectKey> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let newest = all.by_environment.get(environment).into_iter().flat_map(|all| all.values().rev().take(2));
        newest.filter_map(|entry| entry.version_in(&environment.namespace)).collect()
    }

    pub(super) fn has_former(&self, environment: &ObjectKey, uid: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.by_environment
            .get(environment)
            .is_some_and(|revisions| revisions.values().any(|entry| !entry.belongs_to(uid)))
    }

    pub(super) fn uses(&self, version: &ObjectKey) -> Uses {
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
