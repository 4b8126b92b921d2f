//! Whatever the order in which news arrives, in the end the cache holds what the API server holds.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

type Object = PartialObjectMeta<ConfigMap>;

/// An API server that remembers all its states, a watch on it, and answers to our writes that are still on their way.
struct Cluster {
    world: World,
    version: u64,
    incarnations: u64,
    objects: BTreeMap<&'static str, Object>,
    /// Each change with the state after it.
    history: Vec<(Event<Object>, BTreeMap<&'static str, Object>)>,
    /// How many changes the watch has delivered.
    watched: usize,
    relist: Option<Relist>,
    answers: Vec<Answer>,
    /// What a subscriber that adds up changes believes.
    believed: Arc<Mutex<BTreeMap<ObjectKey, Digest>>>,
}

struct Relist {
    to_list: VecDeque<Object>,
    /// The changes that the list contains.
    at: usize,
}

enum Answer {
    Written(Box<Object>),
    Gone(ObjectKey, Uid),
}

impl Cluster {
    fn new() -> Self {
        let world = World::empty();
        let believed: Arc<Mutex<BTreeMap<ObjectKey, Digest>>> = Arc::default();
        let in_subscriber = believed.clone();
        world.cache.subscribe(move |key, old, new| {
            let mut believed = in_subscriber.lock().unwrap();
            assert_eq!(believed.get(key), old, "the old value is the one told before");
            match new {
                Some(new) => believed.insert(key.clone(), new.clone()),
                None => believed.remove(key),
            };
        });
        let mut cluster = Self {
            world,
            version: 0,
            incarnations: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            watched: 0,
            relist: None,
            answers: Vec::new(),
            believed,
        };
        cluster.begin_relist(0);
        cluster
    }

    fn write(&mut self, name: &'static str) -> Object {
        self.version += 1;
        let uid = self.objects.get(name).and_then(|object| object.metadata.uid.clone()).unwrap_or_else(|| {
            self.incarnations += 1;
            format!("u{}", self.incarnations)
        });
        let written = object(name, &uid, self.version);
        self.objects.insert(name, written.clone());
        self.history.push((Event::Apply(written.clone()), self.objects.clone()));
        written
    }

    fn delete(&mut self, name: &'static str) -> Option<Object> {
        let deleted = self.objects.remove(name)?;
        self.version += 1;
        let uid = deleted.metadata.uid.as_deref().unwrap_or_default();
        self.history.push((Event::Delete(object(name, uid, self.version)), self.objects.clone()));
        Some(deleted)
    }

    fn deliver_answer(&mut self, index: prop::sample::Index) {
        if self.answers.is_empty() {
            return;
        }
        match self.answers.swap_remove(index.index(self.answers.len())) {
            Answer::Written(object) => self.world.cache.written(*object),
            Answer::Gone(key, uid) => self.world.cache.remove_written(&key, &uid),
        }
    }

    /// One event of the watch, or of the list that it begins with.
    fn deliver_event(&mut self) {
        if let Some(relist) = &mut self.relist {
            if let Some(object) = relist.to_list.pop_front() {
                self.world.cache.apply(Event::InitApply(object));
            } else {
                self.world.cache.apply(Event::InitDone);
                self.watched = relist.at;
                self.relist = None;
            }
        } else if let Some((event, _)) = self.history.get(self.watched) {
            self.watched += 1;
            self.world.cache.apply(event.clone());
        }
    }

    /// The watch was lost and begins anew with a list as of some changes ago: API servers may lag.
    fn begin_relist(&mut self, changes_ago: usize) {
        let at = self.history.len().saturating_sub(changes_ago);
        let state = at.checked_sub(1).map(|last| self.history[last].1.clone()).unwrap_or_default();
        self.relist = Some(Relist { to_list: state.into_values().rev().collect(), at });
        self.world.cache.apply(Event::Init);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::WeWrite(name) => {
                let written = self.write(name);
                self.answers.push(Answer::Written(Box::new(written)));
            }
            Step::WeDelete(name) => {
                if let Some(metadata) = self.delete(name).map(|deleted| deleted.metadata) {
                    let uid = metadata.uid.as_deref().unwrap_or_default();
                    self.answers.push(Answer::Gone(key(name), uid.into()));
                }
            }
            Step::OthersWrite(name) => drop(self.write(name)),
            Step::OthersDelete(name) => drop(self.delete(name)),
            Step::Answer(index) => self.deliver_answer(*index),
            Step::Event => self.deliver_event(),
            Step::Relist(changes_ago) => self.begin_relist(*changes_ago),
        }
    }

    /// All that is under way arrives, and one more change happens, as it does in every cluster.
    fn settle(&mut self, answers_first: bool) {
        if answers_first {
            self.settle_answers();
        }
        self.write("last");
        while self.relist.is_some() || self.watched < self.history.len() {
            self.deliver_event();
        }
        self.settle_answers();
    }

    fn settle_answers(&mut self) {
        while let Some(answer) = self.answers.pop() {
            match answer {
                Answer::Written(object) => self.world.cache.written(*object),
                Answer::Gone(key, uid) => self.world.cache.remove_written(&key, &uid),
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    WeWrite(&'static str),
    WeDelete(&'static str),
    OthersWrite(&'static str),
    OthersDelete(&'static str),
    Answer(prop::sample::Index),
    Event,
    Relist(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        3 => name().prop_map(Step::WeWrite),
        1 => name().prop_map(Step::WeDelete),
        2 => name().prop_map(Step::OthersWrite),
        2 => name().prop_map(Step::OthersDelete),
        4 => any::<prop::sample::Index>().prop_map(Step::Answer),
        6 => Just(Step::Event),
        1 => (0_usize..4).prop_map(Step::Relist),
    ]
}

proptest! {
    #[test]
    fn the_cache_ends_up_with_what_the_server_holds(
        steps in prop::collection::vec(step(), 0..60),
        answers_first: bool,
    ) {
        let mut cluster = Cluster::new();
        for step in &steps {
            cluster.step(step);
        }
        cluster.settle(answers_first);

        let held: BTreeMap<_, _> = cluster.world.keys().into_iter()
            .filter_map(|key| Some((key.clone(), cluster.world.cache.get(&key)?))).collect();
        let expected: BTreeMap<_, _> = cluster.objects.iter()
            .filter_map(|(name, object)| Some((key(name), Digest::from_object(object.clone())?))).collect();
        prop_assert_eq!(&held, &expected);
        prop_assert_eq!(&*cluster.believed.lock().unwrap(), &expected);
    }
}
