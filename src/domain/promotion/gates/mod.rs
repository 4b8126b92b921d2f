//! The gates: what has to hold before anything moves. One file each.
//!
//! A gate is a pure function from an [`Input`] to what it found. All of them are evaluated every time, so one failure
//! hides no other. A gate that cannot be evaluated does not pass. Adding one is a file here and a line in [`evaluate`].

use jiff::{SignedDuration, Timestamp};

use super::{
    proposal::Proposal,
    snapshot::{EnvironmentView, Snapshot},
};
use crate::{
    api::{
        Digest, GateState, GateType, RevisionNumber,
        promotion::Evidence,
        revision::{RevisionReference, VersionReference},
        rules::PromotionRules,
    },
    domain::duration,
};

mod completeness;
mod confirmations;
mod from;
mod queue;
mod requires;
mod upgrade;
mod upstream_health;
mod validations;
mod versions;
mod veto;

pub use queue::{Turn, turn};

#[cfg(test)]
mod tests;

/// What a gate looks at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// All that is known.
    pub snapshot: &'a Snapshot<'a>,
    /// The target.
    pub target: &'a EnvironmentView,
    /// What would be there afterwards; `None` if nobody can say yet.
    pub proposal: Option<&'a Proposal>,
}

impl Input<'_> {
    fn rules(&self) -> Option<&PromotionRules> {
        self.target.rules()
    }

    fn version(&self) -> Option<&VersionReference> {
        self.proposal?.plan.version.as_ref()
    }

    /// Whether it goes past queue and confirmations. Not forwards: else one person alone could bring a newer version in.
    fn is_emergency(&self) -> bool {
        let spec = &self.snapshot.promotion.spec;
        spec.emergency && spec.source.revision.is_some_and(|number| self.target.goes_back_to(number))
    }

    /// Why gates that look at where a version comes from are not asked for here.
    fn waiver(&self) -> Option<&'static str> {
        let source = &self.snapshot.promotion.spec.source;
        if source.revision.is_some() {
            // Forwards again, after a rollback, is a promotion like any other.
            let forwards = self.proposal.is_some_and(Proposal::goes_forwards);
            return (!forwards).then_some("A rollback goes back to what was released here before");
        }
        source.pending_config.is_some().then_some("Only configuration changes, the version stays")
    }
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of gate.
    pub gate: GateType,
    /// What it is about, where there are several of the kind.
    pub about: Option<String>,
    /// Whether it holds.
    pub state: GateState,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// When time alone will change it.
    pub until: Option<Timestamp>,
    /// What it rests on.
    pub evidence: Option<Evidence>,
}

impl Finding {
    fn new(gate: GateType, state: GateState, reason: &'static str, message: impl Into<String>) -> Self {
        Self { gate, about: None, state, reason, message: message.into(), until: None, evidence: None }
    }

    fn passed(gate: GateType, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(gate, GateState::Passed, reason, message)
    }

    fn pending(gate: GateType, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(gate, GateState::Pending, reason, message)
    }

    fn failed(gate: GateType, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(gate, GateState::Failed, reason, message)
    }

    fn waived(gate: GateType, message: impl Into<String>) -> Self {
        Self::new(gate, GateState::Waived, "NotAskedFor", message)
    }

    /// Nobody can say yet what would move.
    fn unknown(gate: GateType) -> Self {
        Self::pending(gate, "NotEvaluated", "It cannot be evaluated before it is known what would move")
    }

    /// What an environment has now, or had, cannot be read.
    fn unreadable(gate: GateType, revision: &str) -> Self {
        let message = format!("The EnvironmentRevision {revision} cannot be read; its environment says what to do");
        Self::pending(gate, "Unreadable", message)
    }

    fn about(mut self, about: &str) -> Self {
        self.about = Some(about.to_owned());
        self
    }

    fn until(mut self, until: Option<Timestamp>) -> Self {
        self.until = until;
        self
    }

    fn resting_on(mut self, evidence: Evidence) -> Self {
        self.evidence = Some(evidence);
        self
    }

    /// The gate's name, unique among those of a promotion.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.about {
            Some(about) => format!("{}/{about}", self.gate.as_str()),
            None => self.gate.as_str().to_owned(),
        }
    }
}

/// Evaluates all gates that the target asks for, in the order in which they are shown.
#[must_use]
pub fn evaluate(input: Input<'_>) -> Vec<Finding> {
    let mut findings = vec![];
    findings.extend(from::evaluate(input));
    findings.extend(requires::evaluate(input));
    findings.extend(validations::evaluate(input));
    findings.extend(versions::evaluate(input));
    findings.push(upgrade::evaluate(input));
    findings.push(veto::evaluate(input));
    findings.push(completeness::evaluate(input));
    findings.extend(upstream_health::evaluate(input));
    findings.push(queue::evaluate(input));
    findings.extend(confirmations::evaluate(input));
    findings
}

/// What proves that a version is, or was, in an environment.
fn by_revision(environment: &str, revision: RevisionNumber, version: &Digest) -> Evidence {
    Evidence {
        digest: Some(*version),
        revision: Some(RevisionReference { environment: environment.to_owned(), revision }),
        ..Evidence::default()
    }
}

/// A soak time or deadline of a rule. The schema lets no other text in than a duration.
fn duration_of(text: Option<&str>) -> Option<SignedDuration> {
    duration::parse(text.unwrap_or("0s"))
}
