//! The status of a promotion: what people and programs read. It is made from the snapshot alone and holds no moving time.

use jiff::Timestamp;

use super::{
    gates::{Finding, Turn},
    snapshot::Snapshot,
};
use crate::{
    api::{
        ConditionStatus, Gate, GateState, PromotionPhase, PromotionStatus, RevisionNumber,
        condition::{COMMITTED, READY, RECONCILING, STALLED},
        promotion::PromotionPlan,
    },
    domain::{
        conditions::{Conditions, whole_seconds},
        our_part::OurPart,
    },
};

/// The most characters of a sentence, as in the schema.
const MOST: usize = 4000;
/// The most characters of a gate's message, as in the schema.
const MOST_OF_A_GATE: usize = 2000;

/// The part of the status that is ours: all of it, but for conditions that others add.
pub const OURS: OurPart = OurPart {
    fields: &[
        "observedGeneration",
        "phase",
        "waitingFor",
        "until",
        "plan",
        "gates",
        "revision",
        "rolledBackBy",
        "queuePosition",
        "finishedAt",
    ],
    conditions: &[READY, RECONCILING, STALLED, COMMITTED],
};

/// What is to be said of a promotion.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where it is on its way.
    pub phase: PromotionPhase,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// When time alone will change something.
    pub until: Option<Timestamp>,
    /// What it will do, or did.
    pub plan: Option<PromotionPlan>,
    /// Its gates.
    pub gates: Vec<Gate>,
    /// The revision that it made.
    pub revision: Option<RevisionNumber>,
    /// The revision that rolled it back.
    pub rolled_back_by: Option<RevisionNumber>,
    /// How many come before it.
    pub queue_position: Option<u32>,
}

impl Report {
    /// A report of a promotion that has not moved anything.
    #[must_use]
    pub fn before(phase: PromotionPhase, reason: &str, message: String) -> Self {
        Self {
            phase,
            reason: reason.to_owned(),
            message,
            until: None,
            plan: None,
            gates: vec![],
            revision: None,
            rolled_back_by: None,
            queue_position: None,
        }
    }
}

/// The status that says so.
#[must_use]
pub fn of(snapshot: &Snapshot<'_>, report: Report) -> PromotionStatus {
    let stored = snapshot.promotion.status.clone().unwrap_or_default();
    let generation = snapshot.promotion.metadata.generation;
    let ended = report.phase.is_terminal();
    let message = shortened(report.message, MOST);
    let mut conditions = Conditions::new(&stored.conditions, generation, snapshot.now);
    let good = matches!(report.phase, PromotionPhase::Succeeded | PromotionPhase::DryRun);
    let ready = if good { ConditionStatus::True } else { ConditionStatus::False };
    conditions.put(READY, ready, &report.reason, message.clone());
    if !ended {
        conditions.put(RECONCILING, ConditionStatus::True, &report.reason, message.clone());
    } else if !good {
        conditions.put(STALLED, ConditionStatus::True, &report.reason, message.clone());
    }
    match report.revision {
        Some(revision) => {
            let made = format!("Revision {revision} of {}", snapshot.promotion.spec.target);
            conditions.put(COMMITTED, ConditionStatus::True, "Committed", made);
        }
        None => conditions.put(COMMITTED, ConditionStatus::False, "NotCommitted", "Nothing has moved".to_owned()),
    }
    PromotionStatus {
        observed_generation: generation,
        phase: Some(report.phase),
        waiting_for: (!ended).then_some(message),
        until: report.until.filter(|_| !ended),
        plan: report.plan,
        gates: report.gates,
        revision: report.revision,
        rolled_back_by: report.rolled_back_by,
        queue_position: report.queue_position.filter(|_| !ended),
        finished_at: ended.then(|| stored.finished_at.unwrap_or_else(|| whole_seconds(snapshot.now))),
        conditions: conditions.into_inner(),
    }
}

/// The part of a stored status that is ours: others may add conditions of their own.
#[must_use]
pub fn ours(mut stored: PromotionStatus) -> PromotionStatus {
    stored.conditions.retain(|condition| OURS.has(condition));
    stored
}

/// What the gates found, as records. The time of one moves only when its outcome does.
#[must_use]
pub fn gates(snapshot: &Snapshot<'_>, findings: &[Finding]) -> Vec<Gate> {
    let stored = snapshot.promotion.status.as_ref().map_or(&[][..], |status| &status.gates);
    let now = whole_seconds(snapshot.now);
    let record = |finding: &Finding| {
        let name = finding.name();
        let same = stored
            .iter()
            .find(|gate| gate.name == name && gate.state == finding.state && gate.reason == finding.reason);
        Gate {
            name,
            r#type: finding.gate,
            state: finding.state,
            reason: finding.reason.to_owned(),
            message: shortened(finding.message.clone(), MOST_OF_A_GATE),
            evaluated_at: same.map_or(now, |gate| gate.evaluated_at),
            until: finding.until,
            evidence: finding.evidence.clone(),
        }
    };
    findings.iter().map(record).collect()
}

/// What the first of those gates says that are in this state, and the names of the others: all of them say it themselves.
#[must_use]
pub fn sentences(findings: &[Finding], state: GateState) -> String {
    let mut of_state = findings.iter().filter(|finding| finding.state == state);
    let Some(first) = of_state.next() else { return String::new() };
    let others: Vec<String> = of_state.map(Finding::name).collect();
    let first = format!("{}: {}", first.name(), first.message);
    if others.is_empty() { first } else { format!("{first}; also {}", others.join(", ")) }
}

/// How many come before, as the status says it.
#[must_use]
pub fn position(turn: &Turn) -> Option<u32> {
    match turn {
        Turn::Mine => Some(0),
        Turn::After(_, count) => Some(*count),
        Turn::Superseded(_) | Turn::Refused(_) => None,
    }
}

fn shortened(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_of_the_status_is_ours() {
        OURS.assert_authors(&json!(crate::api::Promotion::crd()), &[]);
    }
}
