//! The environment controller, as far as promotions have to do with it: it commits edits of the configuration, writes
//! down what the planner reports, and publishes the release.

use std::{collections::BTreeMap, rc::Rc};

use environment_manager::domain::{
    environment::{
        intents::Memo,
        release::{self, Proposal},
        snapshot::{Base, Snapshot},
    },
    revision::outcome,
    settings::Settings,
};

use super::{Changes, Effect, Machine, Slot};
use crate::{
    objects::{ABSENT, Id},
    scenario,
};

impl Machine {
    pub(super) fn relevant_to_environment(&self, environment: Slot) -> Vec<bool> {
        let mut relevant = vec![false; self.slots()];
        relevant[environment] = true;
        relevant[self.revision_slots(environment)].fill(true);
        relevant
    }

    /// The next step of an environment, as far as it does something.
    pub(super) fn environment_step(&mut self, cached: &[Id], environment: Slot, clock: u8) -> Option<u32> {
        if cached[environment] == ABSENT {
            return None;
        }
        let mut key = vec![Id::try_from(environment).unwrap(), Id::from(clock), cached[environment]];
        key.extend(&cached[self.revision_slots(environment)]);
        if let Some(known) = self.environment_plans.get(&key) {
            return *known;
        }
        let effect = self.plan_environment(cached, environment, clock);
        let effect = effect.map(|effect| self.effect_id(effect));
        self.environment_plans.insert(key, effect);
        effect
    }

    fn plan_environment(&mut self, cached: &[Id], slot: Slot, clock: u8) -> Option<Effect> {
        let environment = self.objects.environment(cached[slot])?.clone();
        let history = self.history(cached, slot);
        let known = self.revision_slots(slot).filter_map(|slot| self.objects.revision(cached[slot]));
        let revisions: BTreeMap<_, _> =
            known.map(|(revision, _)| (revision.metadata.name.clone().unwrap(), Some((**revision).clone()))).collect();
        self.plans += 1;
        let now = scenario::moment(clock);
        let snapshot = Snapshot {
            environment: &environment,
            project_id: None,
            settings: &Settings::default(),
            history,
            unreadable: None,
            former_history: false,
            base: Base::Nothing,
            on_their_way: vec![],
            auto: None,
            revisions: &revisions,
            children: vec![],
            namespace: None,
            failures: &[],
            vault: None,
            memo: &Memo::default(),
            now,
        };
        // What was reported is written down before anything else: the next revision would make it a report of the past.
        let status = environment.status.as_ref();
        let report = status.and_then(|status| status.deployment.as_ref());
        if let Some(latest) = snapshot.latest()
            && let Some(outcome) = outcome::after(latest.number, latest.outcome.as_ref(), report, now)
        {
            let revision = self.revision_slot(slot, latest.number);
            return Some(Effect::Record { revision, outcome: Box::new(outcome) });
        }
        match release::propose(&snapshot) {
            Ok(Proposal::Commit(record)) => {
                let revision = self.revision_slot(slot, record.revision);
                let object = self.objects.keep_revision(scenario::revision(*record));
                Some(Effect::Create { revision, object, promotion: None })
            }
            Ok(Proposal::Keep(release, _)) => {
                let published = status.and_then(|status| status.release.as_ref());
                (published != Some(&*release)).then_some(Effect::Publish { environment: slot, release })
            }
            // A revision that is missing comes with the watch; an edit that waits is none of ours.
            Ok(Proposal::Read(_)) | Err(_) => None,
        }
    }

    /// What the environment controller does about this by and by, where it is no actor of its own.
    pub fn settle_environments(&mut self, server: u32, clock: u8) -> Rc<Changes> {
        if let Some(known) = self.settled.get(&(server, clock)) {
            return known.clone();
        }
        let mut held = self.servers.get(server).to_vec();
        let mut changes = vec![];
        for environment in self.environments() {
            while let Some(effect) = self.environment_step(&held, environment, clock) {
                let slot = match &*self.effect(effect) {
                    Effect::Create { revision, .. } | Effect::Record { revision, .. } => *revision,
                    Effect::Publish { environment, .. } => *environment,
                    other => panic!("{other:?}"),
                };
                let id = self.result(effect, held[slot]);
                held[slot] = id;
                changes.push((slot, id));
            }
        }
        let changes = Rc::new(changes);
        self.settled.insert((server, clock), changes.clone());
        changes
    }
}
