//! The machine: what every actor does in a state. Everything here is remembered by the numbers of what it is made of, so
//! that each distinct plan is made once, however many interleavings lead to it.

use std::{collections::HashMap, rc::Rc};

use environment_manager::{
    api::{
        ANNOTATION_ENDED, EnvironmentRevision, Promotion, PromotionPhase, PromotionStatus, Release, RevisionNumber,
        revision::DeploymentOutcome,
    },
    domain::{environment::naming, promotion::live::LiveLook},
};

use crate::{
    numbered::{Map, Numbered},
    objects::{ABSENT, Id, Kind, Objects},
    scenario::{self, Act, Scenario, Seed, VERSIONS},
};

mod automatic;
mod environments;
mod people;
mod promotions;
mod tell;

/// Where an object is: one place for each name.
pub type Slot = usize;

/// Changes on the API server, in order.
pub type Changes = Vec<(Slot, Id)>;

/// What the API server holds, by slot.
pub type Server = Vec<Id>;

/// The cache of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// What it holds, by slot.
    pub cached: Vec<Id>,
    /// What each kind's watch has not delivered yet, in order.
    pub pending: [Vec<(Slot, Id)>; 4],
}

impl View {
    /// Takes in what a read or an own write returned: older news of that object are no news.
    pub fn learn(&mut self, slot: Slot, id: Id) {
        self.cached[slot] = id;
        for pending in &mut self.pending {
            pending.retain(|(other, _)| *other != slot);
        }
    }

    /// The watches deliver so many changes each.
    fn advance(&mut self, steps: [usize; 4]) {
        for (pending, steps) in self.pending.iter_mut().zip(steps) {
            for (slot, id) in pending.drain(..steps) {
                self.cached[slot] = id;
            }
        }
    }

    /// Whether nothing is known to have happened to this object after these changes.
    fn is_current_after(&self, slot: Slot, steps: [usize; 4]) -> bool {
        self.pending.iter().zip(steps).all(|(pending, steps)| pending[steps..].iter().all(|(other, _)| *other != slot))
    }
}

/// What a replica is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Nothing that it remembers.
    None,
    /// It has read everything live for this promotion.
    Fresh { promotion: u8, look: u16 },
}

/// What a replica does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Reads all of this live, for this promotion.
    Refresh { promotion: Slot, reads: Vec<Slot> },
    /// Writes the status of a promotion; `shows`: and goes on after that.
    Status { promotion: Slot, uid: String, status: Box<PromotionStatus>, shows: bool },
    /// Creates a revision; `promotion`: for this one.
    Create { revision: Slot, object: Id, promotion: Option<Slot> },
    /// Publishes a release in the status of an environment.
    Publish { environment: Slot, release: Box<Release> },
    /// Writes down how the deployment of a revision goes.
    Record { revision: Slot, outcome: Box<DeploymentOutcome> },
    /// Marks a promotion as ended.
    MarkEnd { promotion: Slot, uid: String, phase: PromotionPhase },
    /// Deletes a promotion.
    Delete { promotion: Slot },
    /// Creates a promotion that is due by itself.
    Ask { promotion: Slot, asked: Box<Promotion> },
    /// Has nothing to do after all.
    Drop,
}

/// One thing that a replica may do next.
#[derive(Clone, Debug)]
pub struct Choice {
    pub effect: u32,
    /// The view that it is done on: the watches have delivered just enough for it.
    pub view: u32,
    /// It is also what is done on all that is known by now.
    pub current: bool,
}

/// Where a promotion moves something, and what it may look at.
#[derive(Debug)]
struct Route {
    target: Option<Slot>,
    /// By slot.
    relevant: Vec<bool>,
    relevant_slots: Vec<Slot>,
}

pub struct Machine {
    pub scenario: Scenario,
    pub objects: Objects,
    pub servers: Numbered<Server>,
    pub views: Numbered<View>,
    effects: Vec<Rc<Effect>>,
    effect_ids: HashMap<String, u32>,
    choices: Map<(u32, Work, u8), Rc<Vec<Choice>>>,
    /// Plans of promotions, by slot, whether it is fresh, clock, and what it may look at.
    promotion_plans: Map<Vec<Id>, Option<u32>>,
    /// Plans of environments, by slot, clock, and what it may look at.
    environment_plans: Map<Vec<Id>, Option<u32>>,
    /// What is due by itself, by slot, and what that rests on.
    automatic_plans: Map<Vec<Id>, Option<u32>>,
    routes: Vec<Rc<Route>>,
    looks: Vec<LiveLook>,
    key: Vec<Id>,
    results: Map<(u32, u32), Id>,
    told: Map<(u32, Slot, Id, bool), u32>,
    put: Map<(u32, Slot, Id), u32>,
    settled: Map<(u32, u8), Rc<Changes>>,
    deeds: Map<(u32, usize), Option<(Slot, Id)>>,
    pub facts: Map<(u32, Slot, u8), u32>,
    /// How often the real plan was asked.
    pub plans: usize,
}

impl Machine {
    pub fn new(scenario: Scenario) -> Self {
        let mut machine = Self {
            scenario,
            routes: vec![],
            looks: vec![],
            key: vec![],
            objects: Objects::new(),
            servers: Numbered::new(),
            views: Numbered::new(),
            effects: vec![],
            effect_ids: HashMap::new(),
            choices: Map::default(),
            promotion_plans: Map::default(),
            environment_plans: Map::default(),
            automatic_plans: Map::default(),
            results: Map::default(),
            told: Map::default(),
            put: Map::default(),
            settled: Map::default(),
            deeds: Map::default(),
            facts: Map::default(),
            plans: 0,
        };
        machine.routes = machine.promotion_slots().map(|slot| Rc::new(machine.route_of(slot))).collect();
        machine
    }

    pub fn is_seeded(&self, seed: Seed) -> bool {
        self.scenario.seed == Some(seed)
    }

    // Slots: environments, then versions, promotions, and the revisions of each environment.

    pub fn environments(&self) -> std::ops::Range<Slot> {
        0..self.scenario.environments.len()
    }

    pub fn environment_slot(&self, name: &str) -> Option<Slot> {
        self.scenario.environments.iter().position(|(other, ..)| *other == name)
    }

    pub fn version_slots(&self) -> std::ops::Range<Slot> {
        let first = self.environments().end;
        first..first + VERSIONS.len()
    }

    pub fn version_slot(&self, name: &str) -> Option<Slot> {
        Some(self.version_slots().start + VERSIONS.iter().position(|other| *other == name)?)
    }

    pub fn promotion_slots(&self) -> std::ops::Range<Slot> {
        let first = self.version_slots().end;
        first..first + self.scenario.promotions.len()
    }

    pub fn promotion_slot(&self, name: &str) -> Slot {
        let index = self.scenario.promotions.iter().position(|other| *other == name);
        self.promotion_slots().start + index.unwrap()
    }

    /// The slots of an environment's revisions, in the order of their numbers.
    pub fn revision_slots(&self, environment: Slot) -> std::ops::Range<Slot> {
        let first = self.promotion_slots().end + environment * self.scenario.most_revisions;
        first..first + self.scenario.most_revisions
    }

    pub fn revision_slot(&self, environment: Slot, number: RevisionNumber) -> Slot {
        let slots = self.revision_slots(environment);
        let slot = slots.start + number.get() as usize - 1;
        assert!(slots.contains(&slot), "{}: more revisions than the scenario has room for", self.scenario.name);
        slot
    }

    pub fn slots(&self) -> usize {
        self.promotion_slots().end + self.scenario.environments.len() * self.scenario.most_revisions
    }

    pub fn kind(&self, slot: Slot) -> Kind {
        if self.environments().contains(&slot) {
            Kind::Environments
        } else if self.version_slots().contains(&slot) {
            Kind::Versions
        } else if self.promotion_slots().contains(&slot) {
            Kind::Promotions
        } else {
            Kind::Revisions
        }
    }

    pub fn slot_name(&self, slot: Slot) -> String {
        match self.kind(slot) {
            Kind::Environments => self.scenario.environments[slot].0.to_owned(),
            Kind::Versions => VERSIONS[slot - self.version_slots().start].to_owned(),
            Kind::Promotions => self.scenario.promotions[slot - self.promotion_slots().start].to_owned(),
            Kind::Revisions => {
                let index = slot - self.promotion_slots().end;
                let (environment, number) =
                    (index / self.scenario.most_revisions, index % self.scenario.most_revisions);
                let number = RevisionNumber::new(u32::try_from(number).unwrap() + 1).unwrap();
                naming::revision(self.scenario.environments[environment].0, number)
            }
        }
    }

    /// What the API server holds in the beginning.
    pub fn first_server(&mut self) -> u32 {
        let mut server = vec![ABSENT; self.slots()];
        for (slot, (name, environment, has)) in self.scenario.environments.clone().into_iter().enumerate() {
            let revision = scenario::first_revision(name, VERSIONS[has]);
            server[slot] = self.objects.keep_environment(scenario::published(environment, &revision));
            server[self.revision_slot(slot, RevisionNumber::FIRST)] = self.objects.keep_revision(revision);
        }
        for (index, name) in VERSIONS.into_iter().enumerate().filter(|(index, _)| self.scenario.published[*index]) {
            let results = self.scenario.validated.iter().filter(|(version, ..)| *version == name);
            let version = results.fold(scenario::version(name), |version, (_, validation, result)| {
                scenario::validated(version, validation, result)
            });
            server[self.version_slots().start + index] = self.objects.keep_version(version);
        }
        for promotion in self.scenario.asked.clone() {
            let slot = self.promotion_slot(promotion.metadata.name.as_deref().unwrap());
            server[slot] = self.objects.keep_promotion(promotion);
        }
        self.servers.of(server)
    }

    /// A cache that knows all of it.
    pub fn full_view(&mut self, server: u32) -> u32 {
        let cached = self.servers.get(server).to_vec();
        self.views.of(View { cached, pending: [vec![], vec![], vec![], vec![]] })
    }

    pub fn effect(&self, id: u32) -> Rc<Effect> {
        self.effects[id as usize].clone()
    }

    fn effect_id(&mut self, effect: Effect) -> u32 {
        let key = format!("{effect:?}");
        *self.effect_ids.entry(key).or_insert_with(|| {
            self.effects.push(Rc::new(effect));
            u32::try_from(self.effects.len() - 1).unwrap()
        })
    }

    /// The server with this object in this slot.
    pub fn put(&mut self, server: u32, slot: Slot, id: Id) -> u32 {
        if let Some(known) = self.put.get(&(server, slot, id)) {
            return *known;
        }
        let mut slots = self.servers.get(server).to_vec();
        slots[slot] = id;
        let new = self.servers.of(slots);
        self.put.insert((server, slot, id), new);
        new
    }

    /// The view after a change on the server: `own`, its own reply brought it; else its watch will.
    pub fn tell(&mut self, view: u32, slot: Slot, id: Id, own: bool) -> u32 {
        if let Some(known) = self.told.get(&(view, slot, id, own)) {
            return *known;
        }
        let mut new = (**self.views.get(view)).clone();
        if own {
            new.learn(slot, id);
        } else {
            new.pending[self.kind(slot) as usize].push((slot, id));
        }
        let new = self.views.of(new);
        self.told.insert((view, slot, id, own), new);
        new
    }

    /// All that a replica with this view may do, its watches delivering what they like before it does.
    pub fn choices(&mut self, view: u32, work: Work, clock: u8) -> Rc<Vec<Choice>> {
        if let Some(known) = self.choices.get(&(view, work, clock)) {
            return known.clone();
        }
        let mut choices = vec![];
        match work {
            Work::Fresh { promotion, .. } => {
                let route = self.route(usize::from(promotion));
                self.look(view, &route.relevant, true, &mut choices, |machine, cached| {
                    let step = machine.promotion_step(cached, usize::from(promotion), work, clock);
                    Some(step.unwrap_or_else(|| machine.effect_id(Effect::Drop)))
                });
            }
            Work::None => {
                for promotion in self.promotion_slots() {
                    let route = self.route(promotion);
                    self.look(view, &route.relevant, false, &mut choices, |machine, cached| {
                        machine.promotion_step(cached, promotion, work, clock)
                    });
                }
                for environment in self.following() {
                    let relevant = self.relevant_to_following(environment);
                    self.look(view, &relevant, false, &mut choices, |machine, cached| {
                        machine.automatic_step(cached, environment, &relevant)
                    });
                }
                if self.scenario.environment_controller {
                    for environment in self.environments() {
                        let relevant = self.relevant_to_environment(environment);
                        self.look(view, &relevant, false, &mut choices, |machine, cached| {
                            machine.environment_step(cached, environment, clock)
                        });
                    }
                }
            }
        }
        let choices = Rc::new(choices);
        self.choices.insert((view, work, clock), choices.clone());
        choices
    }

    /// Looks at each state that the watches may have brought the cache to. Of those that lead to the same effect only the
    /// earliest are taken: what comes later can be delivered later just as well.
    fn look(
        &mut self,
        view: u32,
        relevant: &[bool],
        working: bool,
        choices: &mut Vec<Choice>,
        mut step: impl FnMut(&mut Self, &[Id]) -> Option<u32>,
    ) {
        let view = self.views.get(view).clone();
        let points: Vec<Vec<usize>> = view.pending.iter().map(|pending| points(pending, relevant)).collect();
        let mut vectors = vec![[0; 4]];
        for (kind, points) in points.iter().enumerate() {
            let with = |vector: &[usize; 4]| {
                let mut vector = *vector;
                points
                    .iter()
                    .map(move |steps| {
                        vector[kind] = *steps;
                        vector
                    })
                    .collect::<Vec<_>>()
            };
            vectors = vectors.iter().flat_map(with).collect();
        }
        vectors.sort_by_key(|vector| vector.iter().sum::<usize>());
        let last = *vectors.last().unwrap();
        let mut taken: Vec<(u32, [usize; 4])> = vec![];
        let mut now = None;
        let mut cached = view.cached.clone();
        for vector in vectors {
            cached.copy_from_slice(&view.cached);
            for (pending, steps) in view.pending.iter().zip(vector) {
                for (slot, id) in &pending[..steps] {
                    cached[*slot] = *id;
                }
            }
            let effect = step(self, &cached);
            let effect = effect.and_then(|effect| self.unless_in_vain(effect, &view, vector, working));
            if vector == last {
                now = effect;
            }
            let Some(effect) = effect else { continue };
            let later = |(other, before): &(u32, [usize; 4])| {
                *other == effect && before.iter().zip(vector).all(|(before, after)| *before <= after)
            };
            if !taken.iter().any(later) {
                taken.push((effect, vector));
            }
        }
        for (effect, vector) in taken {
            let mut seen = (*view).clone();
            seen.advance(vector);
            let view = self.views.of(seen);
            choices.push(Choice { effect, view, current: now == Some(effect) });
        }
    }

    /// The status of a promotion or an environment is only written over the state that was looked at, a promotion only
    /// deleted in that state: else the API
    /// server answers with a conflict, and the replica looks again when its watch has brought what it missed.
    fn unless_in_vain(&mut self, effect: u32, view: &View, steps: [usize; 4], working: bool) -> Option<u32> {
        let (slot, goes_on, seed) = match &*self.effects[effect as usize] {
            Effect::Status { promotion, shows, .. } => (*promotion, *shows, Some(Seed::StatusUnconditional)),
            Effect::Delete { promotion } => (*promotion, false, None),
            Effect::Publish { environment, .. } => (*environment, false, Some(Seed::ReleaseUnconditional)),
            // How a deployment goes is written down, and an end marked, whatever was written meanwhile.
            Effect::Record { .. }
            | Effect::MarkEnd { .. }
            | Effect::Refresh { .. }
            | Effect::Create { .. }
            | Effect::Ask { .. }
            | Effect::Drop => return Some(effect),
        };
        if view.is_current_after(slot, steps) || seed.is_some_and(|seed| self.is_seeded(seed)) {
            return Some(effect);
        }
        (working && !goes_on).then(|| self.effect_id(Effect::Drop))
    }

    /// The object in the slot that an effect writes, after the write.
    pub fn result(&mut self, effect: u32, before: Id) -> Id {
        if let Some(known) = self.results.get(&(effect, before)) {
            return *known;
        }
        let new = match &*self.effect(effect) {
            Effect::Status { uid, status, .. } => {
                let stored = self.objects.promotion(before).filter(|stored| stored.metadata.uid.as_ref() == Some(uid));
                match stored.map(|stored| (**stored).clone()) {
                    Some(mut promotion) => {
                        promotion.status = Some((**status).clone());
                        self.objects.keep_promotion(promotion)
                    }
                    None => before,
                }
            }
            Effect::MarkEnd { uid, phase, .. } => {
                let stored = self.objects.promotion(before).filter(|stored| stored.metadata.uid.as_ref() == Some(uid));
                match stored.map(|stored| (**stored).clone()) {
                    Some(mut promotion) => {
                        let annotations = promotion.metadata.annotations.get_or_insert_default();
                        annotations.insert(ANNOTATION_ENDED.to_owned(), phase.as_str().to_owned());
                        self.objects.keep_promotion(promotion)
                    }
                    None => before,
                }
            }
            Effect::Publish { release, .. } => {
                let mut environment = (**self.objects.environment(before).unwrap()).clone();
                environment.status.get_or_insert_default().release = Some((**release).clone());
                self.objects.keep_environment(environment)
            }
            Effect::Record { outcome, .. } => {
                let mut revision: EnvironmentRevision = (**self.objects.revision(before).unwrap().0).clone();
                revision.status.get_or_insert_default().deployment = Some((**outcome).clone());
                self.objects.keep_revision(revision)
            }
            Effect::Create { object, .. } => *object,
            Effect::Delete { .. } => ABSENT,
            // What the API server makes of that depends on more (`admitted`).
            Effect::Ask { .. } | Effect::Refresh { .. } | Effect::Drop => before,
        };
        self.results.insert((effect, before), new);
        new
    }

    pub fn acts(&self) -> &[Act] {
        &self.scenario.acts
    }
}

/// After how many changes something relevant has just been delivered.
fn points(pending: &[(Slot, Id)], relevant: &[bool]) -> Vec<usize> {
    let after = pending.iter().enumerate().filter(|(_, (slot, _))| relevant[*slot]).map(|(index, _)| index + 1);
    std::iter::once(0).chain(after).collect()
}
