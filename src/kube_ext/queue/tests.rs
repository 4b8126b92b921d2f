use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Tenant and number, so that the tenant is plain to see.
type Key = (&'static str, u8);

struct World {
    queue: WorkQueue<Key>,
    now: Instant,
}

impl World {
    fn with_tenant_limit(limit: usize) -> Self {
        Self { queue: WorkQueue::new(|(tenant, _)| tenant, limit), now: Instant::now() }
    }

    fn new() -> Self {
        Self::with_tenant_limit(100)
    }

    fn add(&mut self, key: Key) {
        self.queue.add(key, self.now);
    }

    fn add_after(&mut self, key: Key, seconds: u64) {
        self.queue.add_at(key, self.now + Duration::from_secs(seconds));
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn pop(&mut self) -> Option<Key> {
        self.queue.pop(self.now)
    }

    fn pop_all(&mut self) -> Vec<Key> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    fn done(&mut self, key: Key) {
        self.queue.done(&key, self.now);
    }
}

const A1: Key = ("a", 1);
const A2: Key = ("a", 2);
const A3: Key = ("a", 3);
const B1: Key = ("b", 1);
const C1: Key = ("c", 1);

#[test]
fn a_key_is_queued_at_most_once() {
    let mut world = World::new();
    world.add(A1);
    world.add(A1);
    world.add_after(A1, 5);
    assert_eq!(world.queue.len(), 1);
    assert_eq!(world.pop_all(), [A1]);
    world.done(A1);
    world.pass(10);
    assert_eq!(world.pop(), None);
}

#[test]
fn a_key_added_while_in_flight_is_handed_out_again_after_it_is_done() {
    let mut world = World::new();
    world.add(A1);
    world.pop();
    world.add(A1);
    assert_eq!(world.pop(), None);
    world.done(A1);
    assert_eq!(world.pop(), Some(A1));
    world.done(A1);
    assert_eq!(world.pop(), None);
}

#[test]
fn a_delayed_key_waits_for_the_earliest_deadline() {
    let mut world = World::new();
    world.add_after(A1, 20);
    world.add_after(A1, 10);
    world.add_after(A1, 30);
    assert_eq!(world.queue.next_deadline(), Some(world.now + Duration::from_secs(10)));
    world.pass(9);
    assert_eq!(world.pop(), None);
    world.pass(1);
    assert_eq!(world.pop(), Some(A1));
    assert_eq!(world.queue.next_deadline(), None);
}

#[test]
fn an_immediate_add_overrides_a_wait() {
    let mut world = World::new();
    world.add_after(A1, 10);
    world.add(A1);
    assert_eq!(world.pop(), Some(A1));
    world.done(A1);
    world.pass(10);
    assert_eq!(world.pop(), None);
}

#[test]
fn a_deadline_set_while_in_flight_counts_after_done() {
    let mut world = World::new();
    world.add(A1);
    world.pop();
    world.add_after(A1, 10);
    world.pass(20);
    assert_eq!(world.pop(), None);
    world.done(A1);
    assert_eq!(world.pop(), Some(A1));
}

#[test]
fn tenants_take_turns_and_keep_their_own_order() {
    let mut world = World::new();
    for key in [A1, A2, A3, B1, C1] {
        world.add(key);
    }
    assert_eq!(world.pop_all(), [A1, B1, C1, A2, A3]);
}

#[test]
fn a_tenant_that_holds_its_share_of_slots_waits_for_one_of_them() {
    let mut world = World::with_tenant_limit(2);
    for key in [A1, A2, A3, B1] {
        world.add(key);
    }
    assert_eq!(world.pop_all(), [A1, B1, A2]);
    assert_eq!(world.queue.len(), 1);
    world.done(B1);
    assert_eq!(world.pop(), None);
    world.done(A1);
    assert_eq!(world.pop(), Some(A3));
}

#[test]
fn done_for_a_key_that_is_not_in_flight_changes_nothing() {
    let mut world = World::new();
    world.done(A1);
    world.add(A1);
    world.done(A1);
    world.add_after(B1, 1);
    world.done(B1);
    world.pass(1);
    assert_eq!(world.pop_all(), [A1, B1]);
}

#[test]
fn an_idle_queue_holds_nothing() {
    let mut world = World::new();
    world.add(A1);
    world.pop();
    world.done(A1);
    assert!(world.queue.tenants.is_empty() && world.queue.places.is_empty() && world.queue.rotation.is_empty());
}

#[test]
fn the_oldest_ready_key_is_known() {
    let mut world = World::new();
    assert_eq!(world.queue.oldest_ready(world.now), None);
    world.add(A1);
    world.pass(3);
    world.add(B1);
    assert_eq!(world.queue.oldest_ready(world.now), Some(Duration::from_secs(3)));
}

/// What a queue has to do, in the simplest words.
#[derive(Debug, Default)]
struct Model {
    /// In order of arrival.
    ready: Vec<Key>,
    waiting: BTreeMap<Key, Instant>,
    in_flight: BTreeSet<Key>,
    /// What was asked for a key in flight.
    again_now: BTreeSet<Key>,
    again_at: BTreeMap<Key, Instant>,
    /// How often others were served since the tenant could have been.
    passed_over: BTreeMap<&'static str, usize>,
}

impl Model {
    fn add(&mut self, key: Key) {
        if self.in_flight.contains(&key) {
            self.again_now.insert(key);
        } else if !self.ready.contains(&key) {
            self.waiting.remove(&key);
            self.ready.push(key);
        }
    }

    fn add_at(&mut self, key: Key, deadline: Instant) {
        let deadlines = if self.in_flight.contains(&key) { &mut self.again_at } else { &mut self.waiting };
        if !self.ready.contains(&key) {
            let earliest = deadlines.get(&key).map_or(deadline, |at| deadline.min(*at));
            deadlines.insert(key, earliest);
        }
    }

    fn wake_due(&mut self, now: Instant) {
        let mut due: Vec<_> = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(key, at)| (*at, *key)).collect();
        due.sort_unstable();
        for (_, key) in due {
            self.waiting.remove(&key);
            self.ready.push(key);
        }
    }

    /// Tenants that may be served, each with its first ready key.
    fn servable(&self, limit: usize) -> BTreeMap<&'static str, Key> {
        let mut first = BTreeMap::new();
        for key in &self.ready {
            if self.in_flight.iter().filter(|(tenant, _)| *tenant == key.0).count() < limit {
                first.entry(key.0).or_insert(*key);
            }
        }
        first
    }

    fn popped(&mut self, key: Key, servable: &BTreeMap<&'static str, Key>) {
        self.ready.retain(|ready| *ready != key);
        self.in_flight.insert(key);
        self.passed_over.retain(|tenant, _| servable.contains_key(tenant));
        for tenant in servable.keys() {
            let passed_over = self.passed_over.entry(tenant).or_default();
            *passed_over = if *tenant == key.0 { 0 } else { *passed_over + 1 };
        }
    }

    fn done(&mut self, key: Key) {
        self.in_flight.remove(&key);
        let at = self.again_at.remove(&key);
        if self.again_now.remove(&key) {
            self.ready.push(key);
        } else if let Some(at) = at {
            self.waiting.insert(key, at);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Key),
    AddAfter(Key, u64),
    Pass(u64),
    Pop,
    Done(prop::sample::Index),
}

fn key() -> impl Strategy<Value = Key> {
    (prop::sample::select(vec!["a", "b", "c", "d"]), 0_u8..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => key().prop_map(Step::Add),
        2 => (key(), 0_u64..20).prop_map(|(key, seconds)| Step::AddAfter(key, seconds)),
        2 => (1_u64..10).prop_map(Step::Pass),
        4 => Just(Step::Pop),
        4 => any::<prop::sample::Index>().prop_map(Step::Done),
    ]
}

const TENANTS: usize = 4;

proptest! {
    #[test]
    fn the_queue_does_what_the_model_does(limit in 1_usize..4, steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::with_tenant_limit(limit);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Add(key) => {
                    world.add(key);
                    model.add(key);
                }
                Step::AddAfter(key, seconds) => {
                    world.add_after(key, seconds);
                    model.add_at(key, world.now + Duration::from_secs(seconds));
                }
                Step::Pass(seconds) => world.pass(seconds),
                Step::Pop => {
                    model.wake_due(world.now);
                    let servable = model.servable(limit);
                    let popped = world.pop();
                    prop_assert_eq!(popped.is_none(), servable.is_empty());
                    if let Some(key) = popped {
                        prop_assert_eq!(servable.get(key.0), Some(&key), "not the tenant's first");
                        model.popped(key, &servable);
                        prop_assert!(model.passed_over.values().all(|times| *times < TENANTS), "{:?}", model);
                    }
                }
                Step::Done(index) => {
                    if !model.in_flight.is_empty() {
                        let key = *index.get(&model.in_flight.iter().copied().collect::<Vec<_>>());
                        world.done(key);
                        model.done(key);
                    }
                }
            }
            prop_assert_eq!(world.queue.in_flight(), model.in_flight.len());
            prop_assert_eq!(world.queue.len() + world.queue.waiting(), model.ready.len() + model.waiting.len());
        }
    }
}
