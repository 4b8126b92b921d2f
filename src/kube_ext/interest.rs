//! Who wants to be woken when something else changes. Only a hint, kept in memory: each reconcile says anew what it looked
//! at, and says so before it looks, so that no change falls in between.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::key::ObjectKey;

/// Objects by what they look at.
#[derive(Debug)]
pub struct Interests<T>(Mutex<Index<T>>);

#[derive(Debug)]
struct Index<T> {
    by_thing: HashMap<T, BTreeSet<ObjectKey>>,
    by_object: HashMap<ObjectKey, BTreeSet<T>>,
}

impl<T: Clone + Eq + Hash + Ord> Interests<T> {
    /// From now on the object looks at these things, and at no others.
    pub fn set(&self, object: &ObjectKey, things: BTreeSet<T>) {
        let mut index = self.index();
        let before = index.by_object.remove(object).unwrap_or_default();
        for thing in before.difference(&things) {
            if let Some(objects) = index.by_thing.get_mut(thing) {
                objects.remove(object);
                if objects.is_empty() {
                    index.by_thing.remove(thing);
                }
            }
        }
        for thing in things.difference(&before) {
            index.by_thing.entry(thing.clone()).or_default().insert(object.clone());
        }
        if !things.is_empty() {
            index.by_object.insert(object.clone(), things);
        }
    }

    /// The objects that look at this.
    #[must_use]
    pub fn in_thing(&self, thing: &T) -> Vec<ObjectKey> {
        self.index().by_thing.get(thing).map(|objects| objects.iter().cloned().collect()).unwrap_or_default()
    }

    // Each change leaves the index whole but for its own object, so a poisoned lock is used as it is.
    fn index(&self) -> MutexGuard<'_, Index<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Interests<T> {
    fn default() -> Self {
        Self(Mutex::new(Index { by_thing: HashMap::new(), by_object: HashMap::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_woken_by_what_it_looks_at_now_and_by_nothing_else() {
        let interests = Interests::default();
        let (one, other) = (ObjectKey::new("pf-872", "one"), ObjectKey::new("pf-872", "other"));
        interests.set(&one, ["staging", "v1"].into());
        interests.set(&other, ["staging"].into());
        assert_eq!(interests.in_thing(&"staging"), [one.clone(), other.clone()]);
        interests.set(&one, ["v1"].into());
        assert_eq!(interests.in_thing(&"staging"), [other]);
        interests.set(&one, BTreeSet::new());
        assert_eq!(interests.in_thing(&"v1"), []);
        assert!(
            interests.index().by_object.len() == 1 && interests.index().by_thing.len() == 1,
            "nothing is left behind"
        );
    }
}
