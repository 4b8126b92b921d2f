//! What was told in the last minutes, so that what happens again is counted and not told anew.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    mem,
};

use jiff::{SignedDuration, Timestamp};

use super::News;

/// How long something is remembered at least; at most twice as long. The API server keeps events for an hour.
const MEMORY: SignedDuration = SignedDuration::from_mins(6);

/// What makes two events one: the objects, the reason, the action and the type, not the wording. Only a hash of it, as
/// each environment that is made has one: 1,000 take less than 100 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Matter(u64);

/// The event that something has happened again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    /// The name of the event that told it first.
    pub(super) name: Box<str>,
    /// How often it has happened, this time included.
    pub(super) count: i32,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    count: i32,
}

/// Two generations. A new one begins after [`MEMORY`], and the older one is then dropped as a whole: forgetting costs
/// nothing per event.
#[derive(Debug, Default)]
pub(super) struct Told {
    recent: HashMap<Matter, Entry>,
    older: HashMap<Matter, Entry>,
    began: Timestamp,
    hasher: RandomState,
}

impl Told {
    /// What the event is about.
    pub(super) fn matter_of(&self, news: &News) -> Matter {
        let News { regarding, related, event } = news;
        Matter(self.hasher.hash_one((&regarding.uid, related, event.warning, &event.reason, event.action)))
    }

    /// Counts what has been told in the last minutes; `None` if it has not been.
    pub(super) fn again(&mut self, matter: Matter, now: Timestamp) -> Option<Repeat> {
        self.age(now);
        let mut entry = self.recent.remove(&matter).or_else(|| self.older.remove(&matter))?;
        entry.count = entry.count.saturating_add(1);
        let repeat = Repeat { name: entry.name.clone(), count: entry.count };
        self.recent.insert(matter, entry);
        Some(repeat)
    }

    /// It is told now, by the event of this name.
    pub(super) fn remember(&mut self, matter: Matter, name: &str, now: Timestamp) {
        self.age(now);
        self.recent.insert(matter, Entry { name: name.into(), count: 1 });
    }

    /// It could not be told after all.
    pub(super) fn forget(&mut self, untold: Option<Matter>) {
        if let Some(matter) = untold {
            self.recent.remove(&matter);
            self.older.remove(&matter);
        }
    }

    fn age(&mut self, now: Timestamp) {
        let age = now.duration_since(self.began);
        if age < MEMORY {
            return;
        }
        self.older = mem::take(&mut self.recent);
        if age >= MEMORY * 2 {
            self.older.clear();
        }
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::domain::event::Event;

    fn news(uid: &str, related: &str, note: &str) -> News {
        let event = Event { warning: true, reason: "DriftRepaired".into(), action: "Repair", note: note.into() };
        let regarding = ObjectReference { uid: Some(uid.to_owned()), ..ObjectReference::default() };
        News { regarding, related: Some(("ConfigMap".to_owned(), related.to_owned())), event }
    }

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    #[test]
    fn what_happens_again_is_counted_on_the_event_that_told_it_first() {
        let mut told = Told::default();
        let matter = told.matter_of(&news("u-1", "release", "first"));
        assert_eq!(told.again(matter, minute(0)), None);
        told.remember(matter, "staging.1", minute(0));
        let again = told.matter_of(&news("u-1", "release", "other words"));
        assert_eq!(told.again(again, minute(1)), Some(Repeat { name: "staging.1".into(), count: 2 }));
        assert_eq!(told.again(again, minute(2)), Some(Repeat { name: "staging.1".into(), count: 3 }));
    }

    #[test]
    fn another_object_is_another_matter() {
        let told = Told::default();
        let matter = told.matter_of(&news("u-1", "release", ""));
        assert_ne!(matter, told.matter_of(&news("u-2", "release", "")));
        assert_ne!(matter, told.matter_of(&news("u-1", "flags", "")));
    }

    #[test]
    fn it_is_remembered_for_minutes_and_then_told_anew() {
        let mut told = Told::default();
        let matter = told.matter_of(&news("u-1", "release", ""));
        told.remember(matter, "staging.1", minute(0));
        assert_eq!(told.again(matter, minute(5)).map(|repeat| repeat.count), Some(2));
        assert_eq!(told.again(matter, minute(10)).map(|repeat| repeat.count), Some(3));
        assert_eq!(told.again(matter, minute(15)).map(|repeat| repeat.count), Some(4));
        assert_eq!(told.again(matter, minute(30)), None);
    }

    #[test]
    fn what_could_not_be_told_is_told_anew() {
        let mut told = Told::default();
        let matter = told.matter_of(&news("u-1", "release", ""));
        told.remember(matter, "staging.1", minute(0));
        told.forget(Some(matter));
        assert_eq!(told.again(matter, minute(1)), None);
    }
}
