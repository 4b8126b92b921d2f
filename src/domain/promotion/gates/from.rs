//! `from`: the source is one that the target accepts.

use super::{Finding, Input, by_revision};
use crate::api::GateType;

const GATE: GateType = GateType::From;

/// Only asked for where the target's rules name sources.
pub(super) fn evaluate(input: Input<'_>) -> Option<Finding> {
    let allowed = &input.rules().filter(|rules| !rules.from.is_empty())?.from;
    let target = input.target.name();
    if let Some(why) = input.waiver() {
        return Some(Finding::waived(GATE, why));
    }
    let list = allowed.join(", ");
    let source = &input.snapshot.promotion.spec.source;
    if let Some(environment) = &source.environment {
        return Some(if allowed.contains(environment) {
            Finding::passed(GATE, "SourceAllowed", format!("{target} accepts what comes from {environment}"))
        } else {
            let message =
                format!("{target} accepts only what comes from {list}, not from {environment}; promote it there first");
            Finding::failed(GATE, "SourceNotAllowed", message)
        });
    }
    let Some(version) = input.version() else { return Some(Finding::unknown(GATE)) };
    // A version that is named must be where it may come from.
    let released = allowed.iter().find_map(|name| {
        let newest = input.snapshot.environments.get(name)?.newest()?;
        newest.has_version(&version.digest).then_some((name, newest.number))
    });
    if let Some((name, revision)) = released {
        let message = format!("{} is released in {name}", version.name);
        let evidence = by_revision(name, revision, &version.digest);
        return Some(Finding::passed(GATE, "SourceAllowed", message).resting_on(evidence));
    }
    let unreadable = allowed.iter().find_map(|name| input.snapshot.environments.get(name)?.unreadable.as_ref());
    if let Some(revision) = unreadable {
        return Some(Finding::unreadable(GATE, revision));
    }
    let message = format!("{target} accepts only what comes from {list}; release {} there first", version.name);
    Some(Finding::pending(GATE, "NotInSource", message))
}
