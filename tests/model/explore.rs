//! Every state that can be reached, breadth first, each once; so the first way to a broken property is a shortest one.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    time::{Duration, Instant},
};

use crate::{
    machine::{Choice, Effect, Machine, Slot, Work},
    numbered::Map,
    objects::{ABSENT, Id, Kind},
    properties::{Broken, Property},
    scenario::{Scenario, Seed},
};

/// One of the two operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Replica {
    view: u32,
    work: Work,
    /// What held at some moment since it began to look at everything live.
    since: u32,
}

/// Everything that matters for what can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    server: u32,
    replicas: [Replica; 2],
    /// Which deeds were done.
    done: u32,
    losses: u8,
    clock: u8,
}

/// How a state was reached first.
#[derive(Clone, Copy, Debug)]
enum Label {
    Start,
    Operator { replica: u8, effect: u32, lost: bool },
    Killed { replica: u8 },
    Deed(u8),
}

#[derive(Clone, Copy, Debug)]
struct Step {
    from: u32,
    label: Label,
    /// The two replicas are alike, so a state and its mirror image are one: here they changed places.
    swapped: bool,
}

/// What was found.
#[derive(Debug)]
pub struct Report {
    pub name: &'static str,
    pub states: usize,
    pub steps: usize,
    pub at_rest: usize,
    pub depth: usize,
    pub plans: usize,
    pub objects: usize,
    pub views: usize,
    /// Every state that can be reached was looked at.
    pub exhausted: bool,
    pub took: Duration,
    /// The shortest way to each property that does not hold.
    pub broken: BTreeMap<Property, String>,
}

impl Report {
    pub fn summary(&self) -> String {
        let Self { name, states, steps, at_rest, depth, plans, objects, views, exhausted, took, .. } = self;
        let exhausted = if *exhausted { "exhausted" } else { "stopped" };
        format!(
            "{name}: {states} states, {steps} steps, {at_rest} at rest, depth {depth}; {exhausted} in {took:.1?} ({plans} plans, {objects} objects, {views} views); {} violations",
            self.broken.len()
        )
    }
}

/// Explores a scenario to its end; if there is something to be found, until that is found.
pub fn explore(scenario: Scenario, find: Option<Property>) -> Report {
    Explorer::new(scenario).run(find)
}

struct Explorer {
    machine: Machine,
    states: Vec<State>,
    steps: Vec<Step>,
    known: Map<State, u32>,
    queue: VecDeque<u32>,
    /// Steps that operators make on all that is known.
    current: Vec<(u32, u32, Label)>,
    count: usize,
    at_rest: usize,
    broken: BTreeMap<Property, String>,
}

impl Explorer {
    fn new(scenario: Scenario) -> Self {
        Self {
            machine: Machine::new(scenario),
            states: vec![],
            steps: vec![],
            known: Map::default(),
            queue: VecDeque::new(),
            current: vec![],
            count: 0,
            at_rest: 0,
            broken: BTreeMap::new(),
        }
    }

    fn run(mut self, find: Option<Property>) -> Report {
        let began = Instant::now();
        let server = self.machine.first_server();
        let view = self.machine.full_view(server);
        let replica = Replica { view, work: Work::None, since: 0 };
        let losses = self.machine.scenario.losses;
        let start = State { server, replicas: [replica; 2], done: 0, losses, clock: 0 };
        let start = self.before(start);
        self.reach(start, 0, Label::Start);
        while let Some(index) = self.queue.pop_front() {
            self.expand(index);
            if find.is_some_and(|find| self.broken.contains_key(&find))
                || self.states.len() > self.machine.scenario.most_states
            {
                break;
            }
        }
        let exhausted = self.queue.is_empty();
        self.check_that_it_comes_to_rest();
        Report {
            name: self.machine.scenario.name,
            states: self.states.len(),
            steps: self.count,
            at_rest: self.at_rest,
            depth: self.way(u32::try_from(self.states.len() - 1).unwrap()).len(),
            plans: self.machine.plans,
            objects: self.machine.objects.len(),
            views: self.machine.views.len(),
            exhausted,
            took: began.elapsed(),
            broken: self.broken,
        }
    }

    /// What was done before, in one order, by an operator that always knows everything.
    fn before(&mut self, mut state: State) -> State {
        for (nth, deed) in self.machine.scenario.before.clone().into_iter().enumerate() {
            let takes = deed.takes();
            let told = format!("{deed:?}");
            let (slot, id) = self.machine.work_out(state.server, deed, nth).unwrap_or_else(|| panic!("{told}"));
            if takes > 0 {
                state.clock += takes;
            } else {
                self.write(&mut state, slot, id, None);
            }
            while let Some(next) = self.next_of_a_knowing(state) {
                state = next;
            }
        }
        let view = self.machine.full_view(state.server);
        state.replicas = [Replica { view, work: Work::None, since: 0 }; 2];
        state
    }

    fn next_of_a_knowing(&mut self, state: State) -> Option<State> {
        let Replica { view, work, .. } = state.replicas[0];
        let choices = self.machine.choices(view, work, state.clock);
        let mut next = choices
            .iter()
            .filter(|choice| choice.current)
            .map(|choice| self.perform(state, 0, choice, false).unwrap_or_else(|broken| panic!("{broken:?}")));
        next.find_map(|next| next.filter(|next| *next != state))
    }

    /// Takes in a state; its number, and whether it is another one than before.
    fn reach(&mut self, mut state: State, from: u32, label: Label) -> u32 {
        let swapped = state.replicas[1] < state.replicas[0];
        if swapped {
            state.replicas.swap(0, 1);
        }
        if let Some(known) = self.known.get(&state) {
            return *known;
        }
        let index = u32::try_from(self.states.len()).unwrap();
        self.states.push(state);
        self.steps.push(Step { from, label, swapped });
        self.known.insert(state, index);
        self.queue.push_back(index);
        index
    }

    fn expand(&mut self, index: u32) {
        let state = self.states[index as usize];
        let mut moves = false;
        for replica in 0..2 {
            // Two that are the same do the same.
            if replica == 1 && state.replicas[0] == state.replicas[1] {
                continue;
            }
            moves |= self.operate(index, state, replica);
        }
        if !moves && state.replicas.iter().all(|replica| replica.work == Work::None) {
            self.at_rest += 1;
            let broken = self.machine.wrong_with_rest(state.server).or_else(|| self.wants_something(state));
            if let Some(broken) = broken {
                self.note(&broken, index, None);
            }
        }
        for deed in 0..self.machine.acts().len() {
            self.act(index, state, deed);
        }
    }

    /// Nothing happens any more, and yet an operator that knows everything would go on trying.
    fn wants_something(&mut self, state: State) -> Option<Broken> {
        let Replica { view, work, .. } = state.replicas[0];
        let choices = self.machine.choices(view, work, state.clock);
        let choice = choices.iter().find(|choice| choice.current)?;
        let why = format!("for ever an operator {}", self.machine.tell_effect(choice.effect));
        Some(Broken { property: Property::ComesToRest, why })
    }

    /// What one replica may do; whether there is anything.
    fn operate(&mut self, index: u32, state: State, replica: usize) -> bool {
        let Replica { view, work, .. } = state.replicas[replica];
        let mut moves = false;
        for choice in self.machine.choices(view, work, state.clock).iter() {
            let losses: &[bool] = if state.losses > 0 { &[false, true] } else { &[false] };
            for lost in losses {
                let label =
                    Label::Operator { replica: u8::try_from(replica).unwrap(), effect: choice.effect, lost: *lost };
                match self.perform(state, replica, choice, *lost) {
                    Ok(Some(new)) if new != state => {
                        let reached = self.reach(new, index, label);
                        self.count += 1;
                        moves = true;
                        if choice.current && !lost {
                            self.current.push((index, reached, label));
                        }
                    }
                    Ok(_) => {}
                    Err(broken) => {
                        moves = true;
                        self.note(&broken, index, Some(label));
                    }
                }
            }
        }
        // Between two writes nothing is remembered but this; so to be killed elsewhere is to know more, and nothing else.
        if work != Work::None {
            let mut new = state;
            new.replicas[replica].work = Work::None;
            new.replicas[replica].since = 0;
            self.reach(new, index, Label::Killed { replica: u8::try_from(replica).unwrap() });
            self.count += 1;
        }
        moves
    }

    /// Carries out a choice. `lost`: the answer to its write is lost.
    fn perform(&mut self, state: State, replica: usize, choice: &Choice, lost: bool) -> Result<Option<State>, Broken> {
        let machine = &mut self.machine;
        let effect = machine.effect(choice.effect);
        let held = machine.servers.get(state.server).clone();
        let mut new = state;
        new.replicas[replica].view = choice.view;
        let since = state.replicas[replica].since;
        let keeps_on = matches!(&*effect, Effect::Status { shows: true, .. });
        if !keeps_on {
            new.replicas[replica].work = Work::None;
            new.replicas[replica].since = 0;
        }
        let (slot, after) = match &*effect {
            Effect::Drop => return Ok((!lost).then_some(new)),
            Effect::Refresh { promotion, reads } => {
                if !lost {
                    self.refresh(&mut new, replica, *promotion, reads);
                }
                return Ok((!lost).then_some(new));
            }
            Effect::Create { revision, object, promotion } => {
                let there = held[*revision] != ABSENT;
                if there && !machine.is_seeded(Seed::OverwriteRevision) {
                    new.replicas[replica].view = machine.tell(choice.view, *revision, held[*revision], true);
                    return Ok((!lost).then_some(new));
                }
                let since = if machine.is_seeded(Seed::CommitWithoutRefresh) {
                    promotion.map_or(0, |promotion| machine.facts(state.server, promotion, state.clock))
                } else {
                    since
                };
                if let Some(broken) = machine.wrong_with_commit(state.server, *revision, *object, *promotion, since) {
                    return Err(broken);
                }
                (*revision, *object)
            }
            Effect::Ask { promotion, asked } => {
                // One that is there already is the same, and is read.
                if held[*promotion] != ABSENT {
                    new.replicas[replica].view = machine.tell(choice.view, *promotion, held[*promotion], true);
                    return Ok((!lost).then_some(new));
                }
                let object = machine.admitted(state.server, *promotion, asked, state.clock);
                if let Some(broken) = machine.wrong_with_asking(state.server, *promotion, object, choice.current) {
                    return Err(broken);
                }
                (*promotion, object)
            }
            Effect::Status { promotion: slot, .. }
            | Effect::Publish { environment: slot, .. }
            | Effect::Record { revision: slot, .. }
            | Effect::MarkEnd { promotion: slot, .. }
            | Effect::Delete { promotion: slot } => (*slot, machine.result(choice.effect, held[*slot])),
        };
        let wrong = match &*effect {
            Effect::Status { .. } => machine.wrong_with_status(state.server, slot, after),
            Effect::Publish { .. } => machine.wrong_with_release(state.server, slot, after),
            _ => None,
        };
        if let Some(broken) = wrong {
            return Err(broken);
        }
        if held[slot] == after {
            // Nothing was written; the answer tells how things are.
            new.replicas[replica].view = machine.tell(choice.view, slot, after, true);
            return Ok((!lost).then_some(new));
        }
        if lost {
            new.losses -= 1;
            new.replicas[replica].work = Work::None;
            new.replicas[replica].since = 0;
        }
        self.write(&mut new, slot, after, (!lost).then_some(replica));
        Ok(Some(new))
    }

    /// Reads all of this live. Nothing is lost by reading it all at once: what is read later is what the watches bring by
    /// then, and of those each brings what it likes.
    fn refresh(&mut self, new: &mut State, replica: usize, promotion: Slot, reads: &[Slot]) {
        let machine = &mut self.machine;
        let held = machine.servers.get(new.server).clone();
        let mut view = (**machine.views.get(new.replicas[replica].view)).clone();
        let look = machine.live_look(&view.cached, promotion);
        for slot in reads {
            // A list does not tell what is not there any more.
            let listed = machine.kind(*slot) == Kind::Promotions && *slot != promotion;
            if !listed || held[*slot] != ABSENT {
                view.learn(*slot, held[*slot]);
            }
        }
        new.replicas[replica] = Replica {
            view: machine.views.of(view),
            work: Work::Fresh { promotion: u8::try_from(promotion).unwrap(), look },
            since: machine.facts(new.server, promotion, new.clock),
        };
    }

    /// One change on the server, with all that comes of it at once.
    fn write(&mut self, new: &mut State, slot: Slot, id: Id, own: Option<usize>) {
        self.change(new, slot, id, own);
        if !self.machine.scenario.environment_controller {
            let changes = self.machine.settle_environments(new.server, new.clock);
            changes.iter().for_each(|(slot, id)| self.change(new, *slot, *id, None));
        }
    }

    fn change(&mut self, new: &mut State, slot: Slot, id: Id, own: Option<usize>) {
        new.server = self.machine.put(new.server, slot, id);
        for (index, replica) in new.replicas.iter_mut().enumerate() {
            replica.view = self.machine.tell(replica.view, slot, id, own == Some(index));
        }
        self.remember(new);
    }

    /// What holds now has held since the live reads began.
    fn remember(&mut self, new: &mut State) {
        for replica in &mut new.replicas {
            if let Work::Fresh { promotion, .. } = replica.work {
                replica.since |= self.machine.facts(new.server, usize::from(promotion), new.clock);
            }
        }
    }

    fn act(&mut self, index: u32, state: State, deed: usize) {
        let act = &self.machine.acts()[deed];
        if state.done & (1 << deed) != 0 || act.after & !state.done != 0 {
            return;
        }
        let takes = act.deed.takes();
        let Some((slot, id)) = self.machine.deed(state.server, deed) else { return };
        let mut new = state;
        new.done |= 1 << deed;
        if takes > 0 {
            new.clock += takes;
            self.remember(&mut new);
        } else if self.machine.servers.get(state.server)[slot] != id {
            self.write(&mut new, slot, id, None);
        }
        self.reach(new, index, Label::Deed(u8::try_from(deed).unwrap()));
        self.count += 1;
    }

    fn note(&mut self, broken: &Broken, index: u32, last: Option<Label>) {
        if self.broken.contains_key(&broken.property) {
            return;
        }
        let way = self.tell_way(index, last);
        self.broken.insert(broken.property, format!("{:?}: {}\n{way}", broken.property, broken.why));
    }

    /// Once the caches know everything, operators alone must not go round in circles: the steps that they make then, from
    /// whatever state, are taken away from their end on, and a circle is what stays.
    fn check_that_it_comes_to_rest(&mut self) {
        let mut before: Vec<Vec<u32>> = vec![vec![]; self.states.len()];
        let mut left = vec![0_u32; self.states.len()];
        for (from, to, _) in &self.current {
            before[*to as usize].push(*from);
            left[*from as usize] += 1;
        }
        let mut done: Vec<u32> = (0..).take(self.states.len()).filter(|index| left[*index as usize] == 0).collect();
        while let Some(index) = done.pop() {
            for from in std::mem::take(&mut before[index as usize]) {
                left[from as usize] -= 1;
                if left[from as usize] == 0 {
                    done.push(from);
                }
            }
        }
        let Some(start) = left.iter().position(|left| *left > 0) else { return };
        let mut circle = vec![(u32::try_from(start).unwrap(), Label::Start)];
        let next = |at: u32| self.current.iter().find(|(from, to, _)| *from == at && left[*to as usize] > 0);
        while let Some((_, to, label)) = next(circle.last().unwrap().0) {
            let closed = circle.iter().position(|(at, _)| at == to);
            circle.push((*to, *label));
            if let Some(closed) = closed {
                circle.drain(..closed);
                break;
            }
        }
        let told: Vec<String> = circle.iter().skip(1).map(|(_, label)| self.tell(*label, false)).collect();
        let why = format!("operators go round in circles: {}", told.join("; "));
        self.note(&Broken { property: Property::ComesToRest, why }, circle[0].0, None);
    }

    fn way(&self, mut index: u32) -> Vec<u32> {
        let mut way = vec![index];
        while index != 0 {
            index = self.steps[index as usize].from;
            way.push(index);
        }
        way.reverse();
        way
    }

    fn tell_way(&self, index: u32, last: Option<Label>) -> String {
        let mut told = String::new();
        let mut swapped = false;
        let labels = self.way(index).into_iter().map(|index| self.steps[index as usize]);
        let last = last.map(|label| Step { from: index, label, swapped: false });
        for (nth, step) in labels.chain(last).skip(1).enumerate() {
            if matches!(step.label, Label::Start) {
                continue;
            }
            let line = self.tell(step.label, swapped);
            writeln!(told, "{:4}. {line}", nth + 1).unwrap();
            swapped ^= step.swapped;
        }
        told
    }

    fn tell(&self, label: Label, swapped: bool) -> String {
        let name = |replica: u8| if (replica == 0) == swapped { "two" } else { "one" };
        match label {
            Label::Start => String::new(),
            Label::Operator { replica, effect, lost } => {
                let lost = if lost { ", and does not hear the answer" } else { "" };
                format!("operator {} {}{lost}", name(replica), self.machine.tell_effect(effect))
            }
            Label::Killed { replica } => format!("operator {} is killed", name(replica)),
            Label::Deed(deed) => self.machine.describe_deed(usize::from(deed)),
        }
    }
}
