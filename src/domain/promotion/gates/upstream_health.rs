//! `upstreamHealth`: the source environment is not degraded.

use super::{Finding, Input, by_revision};
use crate::api::{DeploymentState, EnvironmentPhase, GateType};

const GATE: GateType = GateType::UpstreamHealth;

/// Only asked for where the version comes from an environment: the source, or one that the target accepts versions from.
pub(super) fn evaluate(input: Input<'_>) -> Option<Finding> {
    let source = &input.snapshot.promotion.spec.source;
    let name = source.environment.as_ref().or_else(|| upstream(input))?;
    let Some(source) = input.snapshot.environments.get(name) else { return Some(Finding::unknown(GATE)) };
    let status = source.environment.status.as_ref();
    if status.and_then(|status| status.phase) == Some(EnvironmentPhase::Degraded) {
        let message = format!("{name} is degraded; this goes on as soon as it is as intended again");
        return Some(Finding::pending(GATE, "Degraded", message));
    }
    let Some(newest) = source.newest() else { return Some(Finding::unknown(GATE)) };
    if newest.outcome.as_ref().is_some_and(|outcome| outcome.state == DeploymentState::Failed) {
        let message =
            format!("The deployment of revision {} of {name} failed; this goes on with a healthy one", newest.number);
        return Some(Finding::pending(GATE, "DeploymentFailed", message));
    }
    let finding = Finding::passed(GATE, "Healthy", format!("{name} is not degraded"));
    Some(match &newest.version {
        Some(version) => finding.resting_on(by_revision(name, newest.number, &version.digest)),
        None => finding,
    })
}

/// The environment that a version, named by itself, comes from.
fn upstream(input: Input<'_>) -> Option<&String> {
    input.snapshot.promotion.spec.source.version.as_ref()?;
    let version = input.version()?;
    let has_it = |name: &&String| {
        let environment = input.snapshot.environments.get(*name);
        let newest = environment.and_then(|environment| environment.newest());
        newest.is_some_and(|newest| newest.has_version(&version.digest))
    };
    input.target.rules()?.from.iter().find(has_it)
}
