//! `versions`: the version is within the range that the target accepts.

use semver::VersionReq;

use super::{Finding, Input};
use crate::{api::GateType, domain::version::order};

const GATE: GateType = GateType::Versions;

/// Only asked for where the target's rules name a range.
pub(super) fn evaluate(input: Input<'_>) -> Option<Finding> {
    let text = input.rules()?.versions.as_deref()?;
    if let Some(why) = input.waiver() {
        return Some(Finding::waived(GATE, why));
    }
    let target = input.target.name();
    let range: VersionReq = match text.parse() {
        Ok(range) => range,
        Err(error) => {
            let message = format!(
                "spec.promotion.versions of {target} is no range of versions ({error}): {text:?}; write for example \
                 \">=1.0.0, <3.0.0\""
            );
            return Some(Finding::pending(GATE, "InvalidRule", message));
        }
    };
    let Some(name) = input.version().map(|version| &version.name) else { return Some(Finding::unknown(GATE)) };
    let within = order::parse(name).is_some_and(|version| range.matches(&version));
    Some(if within {
        Finding::passed(GATE, "WithinRange", format!("{name} is within {text}"))
    } else {
        let message = format!("{name} is not within {text}, the versions that {target} accepts; promote one that is");
        Finding::failed(GATE, "OutOfRange", message)
    })
}
