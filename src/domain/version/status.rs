//! The status of a version: what is in it, whether it is validated, where it is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::validation;
use crate::{
    api::{
        ConditionStatus, Digest, PlatformVersionStatus,
        condition::{READY, RECONCILING, Reason, STALLED, VALIDATED},
        revision::CategoryChanges,
        version::InEnvironment,
    },
    domain::{conditions::Conditions, our_part::OurPart},
};

/// How many environments the status names, as in the schema.
const MOST_ENVIRONMENTS: usize = 100;

/// The part of the status that is ours; `validations` are their reporters'.
pub const OURS: OurPart = OurPart {
    fields: &["observedGeneration", "digest", "diff", "environments"],
    conditions: &[READY, RECONCILING, STALLED, VALIDATED],
};

/// What a version's status is made of.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The version's generation.
    pub generation: Option<i64>,
    /// Whether somebody is deleting it.
    pub terminating: bool,
    /// The digest of its content.
    pub digest: Digest,
    /// The parent that it names.
    pub parent: Option<&'a str>,
    /// What changed from the parent, if the parent is there.
    pub diff: Option<BTreeMap<String, CategoryChanges>>,
    /// The validations that some environment of the project demands.
    pub demanded: BTreeSet<String>,
    /// Environments whose newest revision names it, sorted by name.
    pub environments: Vec<InEnvironment>,
    /// Revisions that name it, by name, sorted.
    pub revisions: Vec<String>,
    /// The status as it is stored.
    pub old: &'a PlatformVersionStatus,
    /// The moment.
    pub now: Timestamp,
}

/// The status that these facts make, and when it will be another one by time alone.
#[must_use]
pub fn report(facts: &Facts<'_>) -> (PlatformVersionStatus, Option<Timestamp>) {
    let mut conditions = Conditions::new(&facts.old.conditions, facts.generation, facts.now);
    if facts.terminating && !facts.revisions.is_empty() {
        let message = in_use(&facts.revisions);
        conditions.put(READY, ConditionStatus::False, Reason::InUse.as_str(), message.clone());
        conditions.put(RECONCILING, ConditionStatus::True, Reason::InUse.as_str(), message);
    } else {
        let message = match facts.parent.filter(|_| facts.diff.is_none()) {
            None => "The version can be used".to_owned(),
            Some(parent) => format!("The version can be used; its parent {parent} is not there to compare with"),
        };
        conditions.put(READY, ConditionStatus::True, Reason::AsIntended.as_str(), message);
    }
    let missing = validation::not_passed(&facts.demanded, &facts.old.validations, &facts.digest, facts.now);
    let (status, message) = match (facts.demanded.is_empty(), missing.as_slice()) {
        (true, _) => (ConditionStatus::True, "No environment of the project demands a validation".to_owned()),
        (false, []) => (ConditionStatus::True, format!("Passed: {}", join(&facts.demanded))),
        (false, missing) => {
            (ConditionStatus::False, format!("Not passed yet, or not any more: {}", missing.join(", ")))
        }
    };
    let reason = if status == ConditionStatus::True { Reason::AsIntended } else { Reason::ValidationMissing };
    conditions.put(VALIDATED, status, reason.as_str(), message);
    let status = PlatformVersionStatus {
        observed_generation: facts.generation,
        digest: Some(facts.digest),
        diff: facts.diff.clone(),
        validations: vec![],
        environments: facts.environments.iter().take(MOST_ENVIRONMENTS).cloned().collect(),
        conditions: conditions.into_inner(),
    };
    let wake =
        (!facts.demanded.is_empty()).then(|| validation::next_expiry(&facts.old.validations, facts.now)).flatten();
    (status, wake)
}

/// The part of a stored status that is ours: validations are their reporters'.
#[must_use]
pub fn ours(stored: &PlatformVersionStatus) -> PlatformVersionStatus {
    let mut ours = stored.clone();
    ours.validations = vec![];
    ours.conditions.retain(|condition| OURS.has(condition));
    ours
}

fn in_use(revisions: &[String]) -> String {
    const MOST: usize = 5;
    let mut named: Vec<&str> = revisions.iter().take(MOST).map(String::as_str).collect();
    let more = revisions.len().saturating_sub(MOST);
    let rest = format!("{more} more");
    if more > 0 {
        named.push(&rest);
    }
    format!(
        "Deleting waits: these revisions name the version: {}. It goes with the last of them; deleted environments and \
         revisions beyond revisionHistoryLimit go by themselves",
        named.join(", ")
    )
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_of_the_status_has_one_author() {
        OURS.assert_authors(&json!(crate::api::PlatformVersion::crd()), &["validations"]);
    }
}
