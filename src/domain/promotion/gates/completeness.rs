//! `completeness`: the target will have all variables, flags and secrets that the version requires.

use std::collections::BTreeSet;

use super::{Finding, Input};
use crate::api::{
    GateType, PlatformEnvironment, SecretState, promotion::Evidence, revision::EffectiveConfiguration,
    version::Requires,
};

const GATE: GateType = GateType::Completeness;

pub(super) fn evaluate(input: Input<'_>) -> Finding {
    if input.snapshot.promotion.spec.source.revision.is_some() && input.waiver().is_some() {
        return Finding::waived(GATE, "A rollback brings back the configuration that the version had");
    }
    let Some(proposal) = input.proposal else { return Finding::unknown(GATE) };
    let Some(version) = &proposal.plan.version else {
        return Finding::waived(GATE, "There is no version that could require anything");
    };
    let Some(view) = input.snapshot.versions.get(&version.name).filter(|view| view.reference.digest == version.digest)
    else {
        let message = format!("What {} requires is not known: there is no such PlatformVersion any more", version.name);
        return Finding::pending(GATE, "VersionNotFound", message);
    };
    let evidence = Evidence { digest: Some(proposal.plan.config_digest), ..Evidence::default() };
    let Some(requires) = &view.requires else {
        return Finding::passed(GATE, "NothingRequired", format!("{} requires no configuration", version.name))
            .resting_on(evidence);
    };
    let missing = missing(requires, &proposal.config);
    let empty = without_value(requires, &proposal.config, &input.target.environment);
    if missing.is_empty() && !empty.is_empty() {
        let message = format!(
            "{} requires secrets that have no value in {}'s place in Vault: {}; status.secrets of {} says where each belongs",
            version.name,
            input.target.name(),
            empty.join(", "),
            input.target.name()
        );
        return Finding::pending(GATE, "SecretsMissing", message).resting_on(evidence);
    }
    if missing.is_empty() {
        let message = format!("{} will have all that {} requires", input.target.name(), version.name);
        return Finding::passed(GATE, "Complete", message).resting_on(evidence);
    }
    let message = format!(
        "{} will not have what {} requires: {}; add it to spec.config of {}, or create the promotion anew from an environment that has it and carry it along",
        input.target.name(),
        version.name,
        missing.join(", "),
        input.target.name()
    );
    Finding::pending(GATE, "Incomplete", message).resting_on(evidence)
}

/// The required secrets of which the target says that they have no value. Of one that it does not have yet nobody can say anything.
fn without_value<'a>(
    requires: &'a Requires,
    config: &EffectiveConfiguration,
    target: &PlatformEnvironment,
) -> Vec<&'a str> {
    // Where no Vault is used any more nobody looks for values.
    let in_vault = target.status.as_ref().filter(|status| status.vault.is_some());
    let said = in_vault.map_or(&[][..], |status| &status.secrets);
    let is_empty = |name: &&str| {
        let will_be = config.variables.iter().find(|variable| variable.name == *name);
        let Some(will_be) = will_be.and_then(|variable| variable.vault.as_ref()) else { return false };
        said.iter().any(|secret| {
            let same = secret.name == *name && secret.key == will_be.key;
            same && secret.path.ends_with(&format!("/{}", will_be.path)) && secret.state != SecretState::Ready
        })
    };
    requires.secrets.iter().map(String::as_str).filter(is_empty).collect()
}

/// What is required and not there, in words.
fn missing(requires: &Requires, config: &EffectiveConfiguration) -> Vec<String> {
    let variables: BTreeSet<&str> = config.variables.iter().map(|variable| variable.name.as_str()).collect();
    let secret = config.variables.iter().filter(|variable| variable.vault.is_some());
    let secrets: BTreeSet<&str> = secret.map(|variable| variable.name.as_str()).collect();
    let flags: BTreeSet<&str> = config.flags.iter().map(|flag| flag.name.as_str()).collect();
    let mut missing = vec![];
    for (what, required, there) in [
        ("variable", &requires.variables, &variables),
        ("flag", &requires.flags, &flags),
        ("secret", &requires.secrets, &secrets),
    ] {
        let absent = required.iter().filter(|name| !there.contains(name.as_str()));
        missing.extend(absent.map(|name| format!("{what} {name}")));
    }
    missing
}
