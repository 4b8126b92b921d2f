//! What was done, in words: so a way to a broken property can be read.

use super::{Effect, Machine};
use crate::scenario::Deed;

impl Machine {
    pub fn tell_effect(&self, effect: u32) -> String {
        match &*self.effect(effect) {
            Effect::Refresh { promotion, .. } => format!("reads everything live for {}", self.slot_name(*promotion)),
            Effect::Status { promotion, status, .. } => {
                let ready = status.conditions.first().map(|ready| ready.reason.clone()).unwrap_or_default();
                format!("writes of {}: {:?} ({ready})", self.slot_name(*promotion), status.phase.unwrap())
            }
            Effect::Create { revision, object, promotion } => {
                let record = &self.objects.revision(*object).unwrap().0.spec;
                let version = record.version.as_ref().map(|version| version.name.as_str()).unwrap_or_default();
                let promotion = promotion.map(|slot| format!(", for {}", self.slot_name(slot))).unwrap_or_default();
                format!("creates {} ({version}, {}{promotion})", self.slot_name(*revision), record.cause.as_str())
            }
            Effect::Publish { environment, release } => {
                format!("publishes revision {} of {}", release.revision, self.slot_name(*environment))
            }
            Effect::Record { revision, outcome } => {
                format!("writes down that {} is {:?}", self.slot_name(*revision), outcome.state)
            }
            Effect::MarkEnd { promotion, phase, .. } => {
                format!("marks {} as ended: {phase:?}", self.slot_name(*promotion))
            }
            Effect::Delete { promotion } => format!("deletes {}", self.slot_name(*promotion)),
            Effect::Ask { promotion, .. } => format!("creates {}", self.slot_name(*promotion)),
            Effect::Drop => "has nothing to do after all".to_owned(),
        }
    }

    pub fn describe_deed(&self, index: usize) -> String {
        match &self.scenario.acts[index].deed {
            Deed::Create(promotion) => {
                format!(
                    "somebody creates {} ({})",
                    promotion.metadata.name.as_deref().unwrap(),
                    promotion.metadata.uid.as_deref().unwrap()
                )
            }
            other => format!("people: {other:?}"),
        }
    }
}
