//! Conditions in the making: the time of one moves only when its status does.

use jiff::Timestamp;

use crate::api::{Condition, ConditionStatus};

/// The conditions of one object, being made anew from those that it has.
#[derive(Debug)]
pub struct Conditions<'a> {
    old: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    new: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// None yet, for an object that has these and this generation.
    #[must_use]
    pub fn new(old: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { old, generation, now: whole_seconds(now), new: vec![] }
    }

    /// Adds one.
    pub fn put(&mut self, name: &str, status: ConditionStatus, reason: &str, message: String) {
        let before = self.old.iter().find(|condition| condition.r#type == name && condition.status == status);
        self.new.push(Condition {
            r#type: name.to_owned(),
            status,
            observed_generation: self.generation,
            last_transition_time: before.map_or(self.now, |condition| condition.last_transition_time),
            reason: reason.to_owned(),
            message,
        });
    }

    /// Keeps one as it was last said.
    pub fn keep(&mut self, condition: &Condition) {
        self.new.push(condition.clone());
    }

    /// One of those that the object has.
    #[must_use]
    pub fn before(&self, name: &str) -> Option<&'a Condition> {
        self.old.iter().find(|condition| condition.r#type == name)
    }

    /// All that were put.
    #[must_use]
    pub fn into_inner(self) -> Vec<Condition> {
        self.new
    }
}

/// Kubernetes keeps whole seconds.
#[must_use]
pub fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}
