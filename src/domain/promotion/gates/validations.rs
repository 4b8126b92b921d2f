//! `validations`: the version was validated, exactly as it is.

use super::{Finding, Input};
use crate::{
    api::{GateType, promotion::Evidence, version::ValidationResult},
    domain::version::validation::{Verdict, verdict},
};

const GATE: GateType = GateType::Validation;

/// One for each validation that the target's rules demand.
pub(super) fn evaluate(input: Input<'_>) -> Vec<Finding> {
    let Some(rules) = input.rules() else { return vec![] };
    rules.validations.iter().map(|name| one(input, name).about(name)).collect()
}

fn one(input: Input<'_>, name: &str) -> Finding {
    if let Some(why) = input.waiver() {
        return Finding::waived(GATE, why);
    }
    let known = input.version().and_then(|version| Some((version, input.snapshot.versions.get(&version.name)?)));
    let Some((version, view)) = known else { return Finding::unknown(GATE) };
    let who = |result: &ValidationResult| Evidence {
        digest: Some(result.digest),
        reporter: Some(result.reporter.clone()),
        ..Evidence::default()
    };
    let details = |result: &ValidationResult| {
        let parts = [result.message.as_deref(), result.link.as_deref()];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
    };
    let version = &version.name;
    match verdict(&view.validations, name, &view.reference.digest, input.snapshot.now) {
        Verdict::Missing => {
            Finding::pending(GATE, "NoResult", format!("Nobody has reported the validation {name} of {version} yet"))
        }
        Verdict::OtherDigest(result) => {
            let message =
                format!("The result that {} reported is for other content than {version} has", result.reporter);
            Finding::pending(GATE, "OtherDigest", message).resting_on(who(result))
        }
        Verdict::Expired(result, at) => {
            let message =
                format!("The result that {} reported expired at {at}; validate {version} again", result.reporter);
            Finding::pending(GATE, "Expired", message).resting_on(who(result))
        }
        Verdict::Running(result) => {
            let message = format!("{} is validating {version}{}", result.reporter, details(result));
            Finding::pending(GATE, "Running", message).until(result.expires_at).resting_on(who(result))
        }
        Verdict::Passed(result) => {
            let message = format!("{} reported that {version} passed{}", result.reporter, details(result));
            Finding::passed(GATE, "Validated", message).until(result.expires_at).resting_on(who(result))
        }
        Verdict::Failed(result) => {
            let message = format!(
                "{} reported that {version} failed{}; promote another version",
                result.reporter,
                details(result)
            );
            Finding::failed(GATE, "ValidationFailed", message).resting_on(who(result))
        }
    }
}
