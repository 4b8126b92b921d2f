//! Promotions that are due by themselves: the environment controller makes them, and the API server gives them what it gives
//! every object.
//!
//! The real plan comes to them once nothing else of the environment is left to do. Here each replica may make them at any
//! time, so more is possible than there.

use std::collections::BTreeSet;

use environment_manager::{
    api::Promotion,
    domain::promotion::auto::{self, Inputs},
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Effect, Machine, Slot};
use crate::{
    objects::{ABSENT, Id},
    scenario::{self, Seed},
};

impl Machine {
    /// Environments that ask for promotions by themselves.
    pub fn following(&self) -> BTreeSet<Slot> {
        self.scenario.automatic.iter().filter_map(|(_, target)| self.environment_slot(target)).collect()
    }

    /// The names under which this environment may ask.
    pub fn automatic_slots(&self, environment: Slot) -> impl Iterator<Item = Slot> {
        let target = self.scenario.environments[environment].0;
        let names = self.scenario.automatic.iter().filter(move |(_, other)| *other == target);
        names.map(|(name, _)| self.promotion_slot(name))
    }

    pub(super) fn relevant_to_following(&self, environment: Slot) -> Vec<bool> {
        let mut relevant = self.relevant_to_environment(environment);
        let rules = self.scenario.environments[environment].1.spec.promotion.clone().unwrap_or_default();
        for upstream in rules.from.iter().filter_map(|name| self.environment_slot(name)) {
            relevant[upstream] = true;
            relevant[self.revision_slots(upstream)].fill(true);
        }
        if rules.from.is_empty() {
            relevant[self.version_slots()].fill(true);
        }
        let into = self.promotion_slots().filter(|slot| self.route(*slot).target == Some(environment));
        into.for_each(|slot| relevant[slot] = true);
        relevant
    }

    /// The promotion that is due by itself.
    pub(super) fn automatic_step(&mut self, cached: &[Id], environment: Slot, relevant: &[bool]) -> Option<u32> {
        let mut key = vec![Id::try_from(environment).unwrap()];
        key.extend(cached.iter().zip(relevant).filter_map(|(id, relevant)| relevant.then_some(id)));
        if let Some(known) = self.automatic_plans.get(&key) {
            return *known;
        }
        let due = self.due(cached, environment);
        let effect = due.map(|promotion| {
            let slot = self.promotion_slot(promotion.metadata.name.as_deref().unwrap());
            self.effect_id(Effect::Ask { promotion: slot, asked: Box::new(promotion) })
        });
        self.automatic_plans.insert(key, effect);
        effect
    }

    fn due(&mut self, cached: &[Id], slot: Slot) -> Option<Promotion> {
        let environment = self.objects.environment(cached[slot])?.clone();
        let rules = environment.spec.promotion.as_ref()?;
        let versions = self.version_slots().filter_map(|slot| self.objects.version(cached[slot]));
        let names = self.promotion_slots().filter_map(|slot| self.objects.promotion(cached[slot]));
        let into = names.filter(|promotion| Some(&promotion.spec.target) == environment.metadata.name.as_ref());
        let mut inputs = Inputs {
            upstream: rules.from.iter().filter_map(|name| self.view_of(cached, name)).collect(),
            published: versions.filter(|_| rules.from.is_empty()).map(|(_, view)| (**view).clone()).collect(),
            promotions: into.filter_map(|promotion| promotion.metadata.name.clone()).collect(),
        };
        let asked = inputs.promotions.len();
        if self.is_seeded(Seed::AskedForgotten) {
            inputs.promotions.clear();
        }
        self.plans += 1;
        let mut due = auto::due(&environment, &self.history(cached, slot), &inputs)?;
        if let (true, Some(name)) = (self.is_seeded(Seed::NameByTheWay), &mut due.metadata.name) {
            *name = scenario::by_the_way(name, asked);
        }
        Some(due)
    }

    /// What the API server makes of it. Those that the operator makes are each of a second of its own, in the order of their
    /// creation. A name that comes again has another UID.
    pub fn admitted(&mut self, server: u32, slot: Slot, asked: &Promotion, clock: u8) -> Id {
        let held = self.servers.get(server).clone();
        let target = self.environment_slot(&asked.spec.target).unwrap();
        let there = self.automatic_slots(target).filter(|slot| held[*slot] != ABSENT).count();
        let name = self.slot_name(slot);
        let life = if self.history(&held, target).made_by_name(&name).is_some() { "2" } else { "1" };
        let mut promotion = asked.clone();
        promotion.metadata.uid = Some(format!("u-{name}-{life}"));
        promotion.metadata.generation = Some(1);
        let created = scenario::moment(clock) + SignedDuration::from_secs(i64::try_from(there).unwrap());
        promotion.metadata.creation_timestamp = Some(Time(created));
        self.objects.keep_promotion(promotion)
    }
}
