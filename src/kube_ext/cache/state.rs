//! The rules of the cache, without locks: see the [parent module](super) for what they are and why.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use super::Held;
use crate::kube_ext::key::{ObjectKey, Stamp, Uid};

/// The entries of a cache and how far its watch is.
pub(super) struct State<T> {
    pub(super) entries: BTreeMap<ObjectKey, Held<T>>,
    /// The number of the relist under way, or of the last one.
    epoch: u32,
    /// The watch has delivered everything up to this resourceVersion. Starts anew with each relist, because an API
    /// server that lags behind another one may list an older state than was known.
    progress: u64,
    /// The highest resourceVersion in the relist under way: the list is at least this new.
    listed: u64,
    /// Writes of ours that the watch has neither brought nor passed yet, by resourceVersion.
    unconfirmed: BTreeMap<u64, ObjectKey>,
}

/// One change to tell the subscribers.
pub(super) struct Change<T> {
    pub(super) key: ObjectKey,
    pub(super) old: Option<T>,
    pub(super) new: Option<T>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), epoch: 0, progress: 0, listed: 0, unconfirmed: BTreeMap::new() }
    }
}

impl<T: Clone> State<T> {
    pub(super) fn begin_relist(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.progress = 0;
        self.listed = 0;
        // What was written before is listed, or goes.
        self.unconfirmed.clear();
    }

    /// The relist found the object. Objects are listed in no order, so progress is known only when the list is done.
    pub(super) fn listed(&mut self, key: ObjectKey, stamp: Stamp, value: Option<T>, changes: &mut Vec<Change<T>>) {
        self.listed = self.listed.max(stamp.resource_version);
        self.unconfirmed.remove(&stamp.resource_version);
        self.put(key, stamp, value, changes);
    }

    pub(super) fn end_relist(&mut self, changes: &mut Vec<Change<T>>) {
        let epoch = self.epoch;
        let unseen = self.entries.extract_if(.., |_, held| held.epoch != epoch);
        changes.extend(unseen.map(|(key, held)| Change { key, old: Some(held.value), new: None }));
        self.advance(self.listed, changes);
    }

    /// The watch brought the object.
    pub(super) fn watched(&mut self, key: ObjectKey, stamp: Stamp, value: Option<T>, changes: &mut Vec<Change<T>>) {
        let progress = stamp.resource_version;
        self.unconfirmed.remove(&stamp.resource_version);
        self.put(key, stamp, value, changes);
        self.advance(progress, changes);
    }

    /// The watch brought the object's deletion.
    pub(super) fn deleted(&mut self, key: ObjectKey, stamp: &Stamp, changes: &mut Vec<Change<T>>) {
        let held = self.entries.get(&key).map(|held| &held.stamp);
        if held.is_some_and(|held| held.uid == stamp.uid && held.resource_version <= stamp.resource_version) {
            self.take(key, changes);
        }
        self.advance(stamp.resource_version, changes);
    }

    /// A write of ours returned the object.
    pub(super) fn written(&mut self, key: ObjectKey, stamp: Stamp, value: Option<T>, changes: &mut Vec<Change<T>>) {
        let version = stamp.resource_version;
        let held = self.entries.get(&key);
        if version <= held.map_or(self.progress, |held| held.stamp.resource_version) {
            return;
        }
        self.unconfirmed.insert(version, key.clone());
        self.put(key, stamp, value, changes);
    }

    /// The API server says that this incarnation is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey, uid: &Uid, changes: &mut Vec<Change<T>>) {
        if self.entries.get(key).is_some_and(|held| held.stamp.uid == *uid) {
            self.take(key.clone(), changes);
        }
    }

    pub(super) fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Held<T>)> + use<'a, T> {
        let first = ObjectKey::new(namespace, "");
        self.entries.range(first..).take_while(move |(key, _)| &*key.namespace == namespace)
    }

    /// Takes in a state of an object unless a newer one is held. Without a value the object is not to be held.
    fn put(&mut self, key: ObjectKey, stamp: Stamp, value: Option<T>, changes: &mut Vec<Change<T>>) {
        let epoch = self.epoch;
        let key = self.with_shared_namespace(key);
        match (self.entries.entry(key), value) {
            (Entry::Occupied(mut entry), value) => {
                entry.get_mut().epoch = epoch;
                if stamp.resource_version <= entry.get().stamp.resource_version {
                    return;
                }
                let key = entry.key().clone();
                let (old, new) = match value {
                    Some(value) => (entry.insert(Held { stamp, value: value.clone(), epoch }), Some(value)),
                    None => (entry.remove(), None),
                };
                changes.push(Change { key, old: Some(old.value), new });
            }
            (Entry::Vacant(entry), Some(value)) => {
                changes.push(Change { key: entry.key().clone(), old: None, new: Some(value.clone()) });
                entry.insert(Held { stamp, value, epoch });
            }
            (Entry::Vacant(_), None) => {}
        }
    }

    fn take(&mut self, key: ObjectKey, changes: &mut Vec<Change<T>>) {
        if let Some(held) = self.entries.remove(&key) {
            changes.push(Change { key, old: Some(held.value), new: None });
        }
    }

    /// The watch is at this resourceVersion: a write of ours up to it that it did not bring is undone by a deletion.
    fn advance(&mut self, progress: u64, changes: &mut Vec<Change<T>>) {
        self.progress = self.progress.max(progress);
        while let Some(entry) = self.unconfirmed.first_entry()
            && *entry.key() <= progress
        {
            let (version, key) = entry.remove_entry();
            if self.entries.get(&key).is_some_and(|held| held.stamp.resource_version == version) {
                self.take(key, changes);
            }
        }
    }

    /// Thousands of keys share a few namespaces: a new key takes over its neighbour's copy of the name.
    fn with_shared_namespace(&self, key: ObjectKey) -> ObjectKey {
        let first = ObjectKey { namespace: key.namespace.clone(), name: Arc::default() };
        match self.entries.range(first..).next() {
            Some((neighbour, _)) if neighbour.namespace == key.namespace => {
                ObjectKey { namespace: neighbour.namespace.clone(), name: key.name }
            }
            _ => key,
        }
    }
}
