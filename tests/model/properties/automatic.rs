//! What must hold of promotions that are made by themselves.

use environment_manager::{
    api::{
        Cause, DeploymentState, EnvironmentRevisionSpec, GateState, GateType, Promotion, PromotionPhase,
        revision::VersionReference,
    },
    domain::promotion::snapshot::version_of,
};

use super::{Broken, Property, broken, ended};
use crate::{
    machine::{Machine, Slot},
    objects::Id,
    scenario::{self, VERSIONS},
};

impl Machine {
    fn is_automatic(&self, name: &str) -> bool {
        self.scenario.automatic.iter().any(|(automatic, _)| *automatic == name)
    }

    /// Of two that were made by themselves the one for the newer version comes first, whenever they were made; `None` if
    /// somebody asked for one of them.
    pub(super) fn goes_before(&self, other: &Promotion, promotion: &Promotion) -> Option<bool> {
        let version = |promotion: &Promotion| {
            let automatic = self.is_automatic(promotion.metadata.name.as_deref().unwrap_or_default());
            version_of(promotion).filter(|_| automatic)
        };
        Some(version(other)? > version(promotion)?)
    }

    /// What is wrong with making this promotion now. `knows`: the operator knows all that there is to know.
    pub fn wrong_with_asking(&self, server: u32, slot: Slot, object: Id, knows: bool) -> Option<Broken> {
        let held = self.servers.get(server);
        let asked = self.objects.promotion(object)?;
        let target = self.environment_slot(&asked.spec.target)?;
        let name = self.slot_name(slot);
        let same = |other: &Slot| {
            let other = self.objects.promotion(held[*other]);
            other.is_some_and(|other| other.spec.source.version == asked.spec.source.version)
        };
        if let Some(twin) = self.automatic_slots(target).find(same) {
            let twin = self.slot_name(twin);
            return broken(Property::AskedOnce, format!("{name} asks for what {twin} asks for"));
        }
        // Who is behind may ask again for what has gone: that moves nothing.
        if knows && self.history(held, target).made_by_name(&name).is_some() {
            return broken(Property::AskedOnce, format!("{name} is made again, and has moved something before"));
        }
        None
    }

    /// What is wrong with this revision, if its promotion was made by itself.
    pub(super) fn wrong_with_following(&self, held: &[Id], record: &EnvironmentRevisionSpec) -> Option<Broken> {
        let automatic = |name: Option<&str>| name.is_some_and(|name| self.is_automatic(name));
        if !automatic(record.promotion.as_ref().map(|made| made.name.as_str())) {
            return None;
        }
        let version = record.version.as_ref()?;
        let history = self.history(held, self.environment_slot(&record.environment)?);
        let mut before = history.iter().filter(|made| made.cause == Cause::Promoted);
        let before = before.find(|made| {
            made.has_version(&version.digest) && automatic(made.promotion.as_ref().map(|made| made.name.as_str()))
        })?;
        let why =
            format!("{} was moved into {} by itself before ({})", version.name, record.environment, before.number);
        broken(Property::AskedOnce, why)
    }

    /// What is wrong with nothing happening any more in an environment that asks by itself.
    pub(super) fn wrong_with_resting(&self, held: &[Id], environment: Slot) -> Option<Broken> {
        let target = self.scenario.environments[environment].0;
        let asked: Vec<&Promotion> = self
            .automatic_slots(environment)
            .filter_map(|slot| self.objects.promotion(held[slot]))
            .map(AsRef::as_ref)
            .collect();
        let waits = |promotion: &&&Promotion| {
            let status = promotion.status.as_ref();
            !ended(promotion)
                && status
                    .is_some_and(|status| status.revision.is_none() && status.phase != Some(PromotionPhase::Pending))
        };
        if asked.iter().filter(waits).count() > 1 {
            return broken(Property::NewestWins, format!("two versions wait to be moved into {target} by themselves"));
        }
        let newest = self.newest_to_follow(held, environment)?;
        let history = self.history(held, environment);
        let has = history.newest()?.version.as_ref().map(|version| version.name.clone());
        let old = VERSIONS.iter().position(|name| Some(*name) == has.as_deref());
        let is_newer = old < VERSIONS.iter().position(|name| *name == newest.name);
        if !is_newer || history.veto(&newest.digest).is_some() {
            return None;
        }
        let Some(promotion) = asked.iter().find(|asked| asked.spec.source.version.as_ref() == Some(&newest.name))
        else {
            return broken(Property::NewestWins, format!("{} is not asked for in {target}", newest.name));
        };
        let mut gates = promotion.status.iter().flat_map(|status| &status.gates);
        let refused = gates.any(|gate| gate.state == GateState::Failed && gate.r#type != GateType::Queue);
        if ended(promotion) && !promotion.spec.cancel && !refused {
            let name = promotion.metadata.name.as_deref().unwrap_or_default();
            let phase = promotion.status.as_ref().and_then(|status| status.phase);
            return broken(Property::NewestWins, format!("{name} is {phase:?}, and {target} has {has:?}"));
        }
        None
    }

    /// The newest version that one of the environments before was deployed well with; if there are none, that is published.
    fn newest_to_follow(&self, held: &[Id], environment: Slot) -> Option<VersionReference> {
        let rules = self.objects.environment(held[environment])?.spec.promotion.clone()?;
        let well = |version: &VersionReference| {
            let mut upstream = rules.from.iter().filter_map(|name| self.environment_slot(name));
            upstream.any(|slot| {
                let history = self.history(held, slot);
                history.newest().is_some_and(|newest| {
                    let outcome = newest.outcome.as_ref();
                    newest.has_version(&version.digest)
                        && outcome.is_some_and(|outcome| outcome.state == DeploymentState::Succeeded)
                })
            })
        };
        let published = |name: &str| self.version_slot(name).is_some_and(|slot| held[slot] != 0);
        let versions = VERSIONS.into_iter().rev().filter(|name| published(name)).map(scenario::reference);
        versions.into_iter().find(|version| rules.from.is_empty() || well(version))
    }
}
