//! What is told of a promotion: each new phase that a person would want to know of, once.

use crate::{
    api::{PromotionPhase, PromotionStatus, condition::READY},
    domain::event::Event,
};

/// What changed from one status to the next.
#[must_use]
pub fn of_status(old: Option<&PromotionStatus>, new: &PromotionStatus) -> Option<Event> {
    let phase = new.phase?;
    if old.and_then(|old| old.phase) == Some(phase) {
        return None;
    }
    let (warning, action) = match phase {
        // The commit itself is told at the environment.
        PromotionPhase::Evaluating | PromotionPhase::ReadyForDeploy => return None,
        PromotionPhase::Pending | PromotionPhase::AwaitingConfirmation => (false, "Evaluate"),
        PromotionPhase::Deployed | PromotionPhase::Succeeded => (false, "Deploy"),
        PromotionPhase::DryRun | PromotionPhase::Cancelled | PromotionPhase::Superseded => (false, "End"),
        PromotionPhase::Rejected | PromotionPhase::Failed => (true, "End"),
    };
    let ready = new.conditions.iter().find(|condition| condition.r#type == READY)?;
    Some(Event { warning, reason: phase.as_str().to_owned(), action, note: ready.message.clone() })
}
