//! What is kept of the children, and which of them are in doubt.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::{
    api::DynamicObject,
    core::{ObjectMeta, PartialObjectMeta},
};
use serde_json::Value;

use crate::{
    api::{ANNOTATION_INTENT, FIELD_MANAGER, LABEL_ENVIRONMENT_UID},
    domain::environment::{
        children::{ChildId, ChildKind, IntentMark},
        ownership::{OtherManager, OwnedFields},
        snapshot::Child,
    },
    kube_ext::{
        cache::{Cache, Record},
        key::{ObjectKey, Uid},
    },
};

/// What is kept of a child: whose it is, and whether it is as we left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    pub(super) environment_uid: Uid,
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
pub(super) struct Doubts(Mutex<BTreeSet<(ChildKind, ObjectKey)>>);

impl Doubts {
    pub(super) fn about(&self, kind: ChildKind, key: &ObjectKey) -> bool {
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

    pub(super) fn end(&self, kind: ChildKind, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key.clone()));
    }
}

/// A cache of children that notes which of them are in doubt.
pub(super) fn doubtful(kind: ChildKind, doubts: &Arc<Doubts>) -> Cache<Tracked> {
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
