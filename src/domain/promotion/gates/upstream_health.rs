//! `upstreamHealth`: the source environment is not degraded.

use super::{Finding, Input, by_revision};
use crate::api::{DeploymentState, EnvironmentPhase, GateType};

const GATE: GateType = GateType::UpstreamHealth;

/// Only asked for where an environment is the source.
pub(super) fn evaluate(input: Input<'_>) -> Option<Finding> {
    let name = input.snapshot.promotion.spec.source.environment.as_ref()?;
    let Some(source) = input.snapshot.environments.get(name) else { return Some(Finding::unknown(GATE)) };
    let status = source.environment.status.as_ref();
    if status.and_then(|status| status.phase) == Some(EnvironmentPhase::Degraded) {
        let message = format!("{name} is degraded; this goes on as soon as it is as intended again");
        return Some(Finding::pending(GATE, "Degraded", message));
    }
    let newest = source.history.newest()?;
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
