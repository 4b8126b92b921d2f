//! People, Git, validators and the planner: what they write, and when they can.

use environment_manager::api::{RevisionNumber, promotion::Confirmation};
use serde_json::json;

use super::{Machine, Slot};
use crate::{
    objects::{ABSENT, Id},
    scenario::{self, Deed},
};

impl Machine {
    /// What this deed writes; `None` if it cannot be done now. Nothing is written by the clock.
    pub fn deed(&mut self, server: u32, index: usize) -> Option<(Slot, Id)> {
        if let Some(known) = self.deeds.get(&(server, index)) {
            return *known;
        }
        let deed = self.scenario.acts[index].deed.clone();
        let written = self.work_out(server, deed, index + self.scenario.before.len());
        self.deeds.insert((server, index), written);
        written
    }

    /// The same for any deed. Of reports of the planner the `nth` is the later one.
    pub fn work_out(&mut self, server: u32, deed: Deed, nth: usize) -> Option<(Slot, Id)> {
        let held = self.servers.get(server).clone();
        match deed {
            Deed::Create(promotion) => {
                let slot = self.promotion_slot(promotion.metadata.name.as_deref()?);
                (held[slot] == ABSENT).then(|| (slot, self.objects.keep_promotion(*promotion)))
            }
            Deed::Confirm(name, user) => self.change_promotion(&held, name, |promotion| {
                let digest = promotion.status.as_ref()?.plan.as_ref()?.digest;
                promotion.spec.confirmations.push(Confirmation { user: user.to_owned(), digest, note: None });
                Some(())
            }),
            Deed::Cancel(name) => self.change_promotion(&held, name, |promotion| {
                promotion.spec.cancel = true;
                Some(())
            }),
            Deed::Delete(name) => {
                let slot = self.promotion_slot(name);
                (held[slot] != ABSENT).then_some((slot, ABSENT))
            }
            Deed::Publish(name) => {
                let slot = self.version_slot(name)?;
                (held[slot] == ABSENT).then(|| (slot, self.objects.keep_version(scenario::version(name))))
            }
            Deed::Validate(version, name, result) => {
                let slot = self.version_slot(version)?;
                let (version, _) = self.objects.version(held[slot])?;
                let version = scenario::validated((**version).clone(), name, result);
                Some((slot, self.objects.keep_version(version)))
            }
            Deed::Configure(name, on) => {
                let slot = self.environment_slot(name)?;
                let mut environment = (**self.objects.environment(held[slot])?).clone();
                let config = json!({"flags": [{"name": "BETA", "enabled": on}]});
                environment.spec.config = serde_json::from_value(config).unwrap();
                environment.metadata.generation = environment.metadata.generation.map(|generation| generation + 1);
                Some((slot, self.objects.keep_environment(environment)))
            }
            Deed::Rules(name, rules) => {
                let slot = self.environment_slot(name)?;
                let mut environment = (**self.objects.environment(held[slot])?).clone();
                environment.spec.promotion = Some(serde_json::from_value(rules).unwrap());
                environment.metadata.generation = environment.metadata.generation.map(|generation| generation + 1);
                Some((slot, self.objects.keep_environment(environment)))
            }
            Deed::Report(name, number, state) => {
                let slot = self.environment_slot(name)?;
                let mut environment = (**self.objects.environment(held[slot])?).clone();
                let status = environment.status.as_mut()?;
                let published = status.release.as_ref()?.revision;
                if published < RevisionNumber::new(number)? {
                    return None;
                }
                status.deployment = Some(scenario::report(number, state, nth + 1));
                Some((slot, self.objects.keep_environment(environment)))
            }
            Deed::Tick | Deed::Day => Some((usize::MAX, ABSENT)),
        }
    }

    fn change_promotion(
        &mut self,
        held: &[Id],
        name: &str,
        change: impl FnOnce(&mut environment_manager::api::Promotion) -> Option<()>,
    ) -> Option<(Slot, Id)> {
        let slot = self.promotion_slot(name);
        let mut promotion = (**self.objects.promotion(held[slot])?).clone();
        let phase = promotion.status.as_ref().and_then(|status| status.phase);
        if phase.is_some_and(environment_manager::api::PromotionPhase::is_terminal) {
            return None;
        }
        change(&mut promotion)?;
        promotion.metadata.generation = promotion.metadata.generation.map(|generation| generation + 1);
        Some((slot, self.objects.keep_promotion(promotion)))
    }
}
