//! Who may be at Vault: some environments at a time, so that a slow Vault leaves room for all other work.
//!
//! Nobody waits here. Who gets no turn stands in line, goes on without Vault, and is called when a turn is free; projects take turns
//! as they do in the queue of the run loop.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    controller::run_loop::Trigger,
    kube_ext::{key::ObjectKey, queue::WorkQueue},
};

/// The turns.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    most: usize,
    trigger: Trigger,
}

#[derive(Debug)]
struct State {
    taken: usize,
    /// Who was called, and has not come yet.
    called: BTreeSet<ObjectKey>,
    line: WorkQueue<ObjectKey>,
}

impl Turns {
    /// At most so many at a time.
    pub fn new(most: usize, trigger: Trigger) -> Arc<Self> {
        let line = WorkQueue::new(|key: &ObjectKey| &key.namespace, usize::MAX);
        let state = State { taken: 0, called: BTreeSet::new(), line };
        Arc::new(Self { state: Mutex::new(state), most, trigger })
    }

    /// A turn, if one is free or was kept for this environment; else it stands in line from now on.
    fn take(self: &Arc<Self>, key: &ObjectKey) -> Option<Turn> {
        let mut state = self.state();
        if state.called.remove(key) || state.taken + state.called.len() < self.most {
            state.taken += 1;
            return Some(Turn { turns: self.clone(), since: Instant::now() });
        }
        state.line.add(key.clone(), Instant::now());
        None
    }

    /// Gives the turn on that is kept for an environment which did not come for it: it needs none any more.
    fn pass(&self, key: &ObjectKey) {
        let mut state = self.state();
        if state.called.remove(key) {
            self.call(&mut state);
        }
    }

    fn call(&self, state: &mut State) {
        while state.taken + state.called.len() < self.most {
            let now = Instant::now();
            let Some(next) = state.line.pop(now) else { return };
            state.line.done(&next, now);
            state.called.insert(next.clone());
            self.trigger.now(next);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reconcile, that may come to need a turn.
#[derive(Debug)]
pub struct Visit {
    turns: Arc<Turns>,
    key: ObjectKey,
    turn: Option<Turn>,
    /// It asked for a turn and got none.
    in_line: bool,
}

impl Visit {
    /// Of this environment.
    pub fn new(turns: &Arc<Turns>, key: &ObjectKey) -> Self {
        Self { turns: turns.clone(), key: key.clone(), turn: None, in_line: false }
    }

    /// Since when it has its turn, until it ends; `None` if it stands in line.
    pub fn turn(&mut self) -> Option<Instant> {
        self.turn = self.turn.take().or_else(|| self.turns.take(&self.key));
        self.in_line = self.turn.is_none();
        self.turn.as_ref().map(|turn| turn.since)
    }

    /// Whether it had its turn.
    #[must_use]
    pub fn had_turn(&self) -> bool {
        self.turn.is_some()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.in_line {
            self.turns.pass(&self.key);
        }
    }
}

/// A turn, for as long as this value lives.
#[derive(Debug)]
struct Turn {
    turns: Arc<Turns>,
    since: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.taken -= 1;
        self.turns.call(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::run_loop::Limits;

    fn key(project: &str, name: &str) -> ObjectKey {
        ObjectKey::new(project, name)
    }

    #[test]
    fn who_gets_no_turn_is_called_for_the_next_one_and_nobody_takes_it_away() {
        let trigger = Trigger::new(&Limits::default());
        let turns = Turns::new(2, trigger.clone());
        let visit = |project, name| {
            let mut visit = Visit::new(&turns, &key(project, name));
            (visit.turn().is_some(), visit)
        };
        let (first, second) = (visit("a", "1"), visit("a", "2"));
        assert!(first.0 && second.0);
        assert!(!visit("a", "3").0 && !visit("a", "4").0 && !visit("b", "1").0);
        drop(first);
        assert_eq!(trigger.pop(), Some(key("a", "3")));
        assert!(!visit("c", "1").0, "it is kept for who was called");
        let third = visit("a", "3");
        assert!(third.0);
        drop(second);
        assert_eq!(trigger.pop(), Some(key("b", "1")), "projects take turns");
        drop(Visit::new(&turns, &key("b", "1")));
        assert!(trigger.pop().is_some(), "what one does not need is another one's");
        drop(third);
        assert!(trigger.pop().is_some());
        assert_eq!(trigger.pop(), None);
    }
}
