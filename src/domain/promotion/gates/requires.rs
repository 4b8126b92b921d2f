//! `requires`: this version was in that environment, deployed and healthy, for the soak time.

use super::{Finding, Input, by_revision, duration_of};
use crate::{
    api::{DeploymentState, GateType, revision::VersionReference, rules::Requirement},
    domain::promotion::snapshot::{EnvironmentView, Requirements},
};

const GATE: GateType = GateType::Requires;

/// One for each environment that the target's rules name.
pub(super) fn evaluate(input: Input<'_>) -> Vec<Finding> {
    let Some(rules) = input.rules() else { return vec![] };
    rules.requires.iter().map(|requirement| one(input, requirement).about(&requirement.environment)).collect()
}

fn one(input: Input<'_>, requirement: &Requirement) -> Finding {
    if let Some(why) = input.waiver() {
        return Finding::waived(GATE, why);
    }
    let name = &requirement.environment;
    if *name == input.target.name() {
        let message =
            format!("{name} requires itself, which nothing can fulfil; correct spec.promotion.requires of {name}");
        return Finding::failed(GATE, "RequiresItself", message);
    }
    let Some(version) = input.version() else { return Finding::unknown(GATE) };
    let Some(environment) = input.snapshot.environments.get(name) else {
        let message = format!(
            "There is no environment {name} in this project; create it, or correct spec.promotion.requires of {}",
            input.target.name()
        );
        return Finding::pending(GATE, "EnvironmentNotFound", message);
    };
    if let Some(message) = circle(input, environment) {
        return Finding::pending(GATE, "CircularRequirement", message);
    }
    soaked(input, requirement, environment, version)
}

/// A requirement that leads back to the target can be fulfilled by a rollback or a first version only.
fn circle(input: Input<'_>, environment: &EnvironmentView) -> Option<String> {
    let target = input.target.name();
    let there = input
        .version()
        .is_some_and(|version| environment.history.iter().any(|record| record.has_version(&version.digest)));
    let path = way(&input.snapshot.requirements, environment.name(), target, &mut vec![]).filter(|_| !there)?;
    Some(format!(
        "{target} requires {}, which requires {target} again, so no new version reaches any of them; correct \
         spec.promotion.requires of one of them",
        path.join(", which requires ")
    ))
}

/// The way from one environment to another by what they require, the last one left out.
fn way(all: &Requirements, from: &str, to: &str, seen: &mut Vec<String>) -> Option<Vec<String>> {
    if seen.iter().any(|name| name == from) {
        return None;
    }
    seen.push(from.to_owned());
    let required = all.get(from)?;
    if required.iter().any(|name| name == to) {
        return Some(vec![from.to_owned()]);
    }
    let further = required.iter().find_map(|name| way(all, name, to, seen))?;
    Some([vec![from.to_owned()], further].concat())
}

fn soaked(
    input: Input<'_>,
    requirement: &Requirement,
    environment: &EnvironmentView,
    version: &VersionReference,
) -> Finding {
    let name = &requirement.environment;
    if let Some(revision) = &environment.unreadable {
        return Finding::unreadable(GATE, revision);
    }
    if let Some(veto) = environment.history.veto(&version.digest) {
        let message = format!(
            "{} was rolled back in {name} by revision {}; promote a newer version",
            version.name, veto.revision
        );
        return Finding::failed(GATE, "RolledBackThere", message).resting_on(by_revision(
            name,
            veto.revision,
            &version.digest,
        ));
    }
    let Some(soak) = duration_of(requirement.soak.as_deref()) else {
        let message = format!(
            "spec.promotion.requires of {}: the soak time {:?} is no duration such as 1h or 90m; correct it",
            input.target.name(),
            requirement.soak.as_deref().unwrap_or_default()
        );
        return Finding::pending(GATE, "InvalidRule", message);
    };
    let stretches = environment.history.healthy(&version.digest, input.snapshot.now);
    let newest = environment.history.newest().filter(|newest| newest.has_version(&version.digest));
    let failed = newest.and_then(|newest| newest.outcome.as_ref());
    if let (Some(newest), Some(outcome)) = (newest, failed.filter(|outcome| outcome.state == DeploymentState::Failed)) {
        let details = outcome.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let message = format!("{} is in {name}, and the planner reported that it failed there{details}", version.name);
        return Finding::pending(GATE, "NotHealthy", message).resting_on(by_revision(
            name,
            newest.number,
            &version.digest,
        ));
    }
    if let Some(stretch) = stretches.iter().find(|stretch| stretch.lasted >= soak) {
        let message =
            format!("{} was healthy in {name} for {}", version.name, requirement.soak.as_deref().unwrap_or("a moment"));
        return Finding::passed(GATE, "Soaked", message).resting_on(by_revision(
            name,
            stretch.revision,
            &version.digest,
        ));
    }
    if let Some(stretch) = stretches.iter().find(|stretch| stretch.lasts) {
        let until = stretch.since.checked_add(soak).ok();
        let message = match until {
            Some(until) => {
                format!("{} has been healthy in {name} since {} and must be until {until}", version.name, stretch.since)
            }
            None => format!("{} must be healthy in {name} for longer than there is time", version.name),
        };
        return Finding::pending(GATE, "Soaking", message).until(until).resting_on(by_revision(
            name,
            stretch.revision,
            &version.digest,
        ));
    }
    missing(environment, version, requirement)
}

/// What is missing, as exactly as the history says.
fn missing(environment: &EnvironmentView, version: &VersionReference, requirement: &Requirement) -> Finding {
    let (name, version_name) = (&requirement.environment, &version.name);
    let newest = environment.history.iter().find(|record| record.has_version(&version.digest));
    let Some(record) = newest else {
        return Finding::pending(
            GATE,
            "NotThereYet",
            format!("{version_name} was never in {name}; promote it there first"),
        );
    };
    let evidence = by_revision(name, record.number, &version.digest);
    let is_current = environment.history.newest().is_some_and(|current| current.number == record.number);
    let (reason, message) = if is_current {
        let message = format!("{version_name} is in {name}, and the planner has not reported it deployed yet");
        ("NotDeployedYet", message)
    } else {
        let (revision, what) = (record.number, "but was not healthy for long enough; promote it there again");
        ("NotThereAnyMore", format!("{version_name} was in {name} (revision {revision}), {what}"))
    };
    Finding::pending(GATE, reason, message).resting_on(evidence)
}
