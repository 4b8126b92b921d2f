//! `auto`: when a promotion is made by itself.
//!
//! Its name is made of the target and the version, and a promotion's name is its idempotency key: so a version is promoted
//! once, whoever looks how often.

use std::collections::BTreeSet;

use semver::VersionReq;

use super::snapshot::{EnvironmentView, VersionView};
use crate::{
    api::{
        ANNOTATION_AUTO, ANNOTATION_CREATED_BY, DeploymentState, FIELD_MANAGER, PlatformEnvironment, Promotion,
        PromotionSpec,
        promotion::PromotionSource,
        revision::{DeploymentOutcome, VersionReference},
    },
    domain::{revision::History, version::order},
};

#[cfg(test)]
mod tests;

/// How long a promotion is kept that the operator made by itself.
const TTL: &str = "24h";

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The environments that versions may come from.
    pub upstream: Vec<EnvironmentView>,
    /// All versions of the project, if they may come from anywhere.
    pub published: Vec<VersionView>,
    /// The names of all promotions into the environment.
    pub promotions: BTreeSet<String>,
}

/// The promotion that is due, if one is: to the newest version that is newer than the one that is there, not vetoed, and
/// not asked for yet.
#[must_use]
pub fn due(environment: &PlatformEnvironment, history: &History, inputs: &Inputs) -> Option<Promotion> {
    let rules = environment.spec.promotion.as_ref().filter(|rules| rules.auto)?;
    let current = history.newest()?;
    let range: Option<VersionReq> = match &rules.versions {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    let within = |version: &VersionReference| {
        range.as_ref().is_none_or(|range| order::parse(&version.name).is_some_and(|version| range.matches(&version)))
    };
    let candidates = if rules.from.is_empty() { published(inputs) } else { deployed(inputs) };
    let vetoes = history.vetoes();
    let taken_back = |version: &VersionReference| vetoes.iter().any(|veto| veto.version.digest == version.digest);
    // What does not come into question must not hide what does.
    let eligible =
        |version: &VersionReference| within(version) && current.is_older_than(version) && !taken_back(version);
    let candidates = candidates.into_iter().filter(|(version, _)| eligible(version));
    let (version, why) = candidates.max_by_key(|(version, _)| order::parse(&version.name))?;
    if current.has_version(&version.digest) {
        return None;
    }
    let target = environment.metadata.name.clone()?;
    let name = format!("{target}-auto-{}", version.name);
    if inputs.promotions.contains(&name) || history.made_by_name(&name).is_some() {
        return None;
    }
    Some(promotion(environment, &name, &version, why))
}

/// What each upstream environment has now, if it was deployed well there; and why that is a candidate.
fn deployed(inputs: &Inputs) -> Vec<(VersionReference, String)> {
    let good = |outcome: &DeploymentOutcome| outcome.state == DeploymentState::Succeeded;
    let of = |environment: &EnvironmentView| {
        let newest = environment.newest().filter(|newest| newest.outcome.as_ref().is_some_and(good))?;
        let version = newest.version.clone()?;
        let why = format!("auto: {} was deployed in {} (revision {})", version.name, environment.name(), newest.number);
        Some((version, why))
    };
    inputs.upstream.iter().filter_map(of).collect()
}

/// All versions of the project; and why each is a candidate.
fn published(inputs: &Inputs) -> Vec<(VersionReference, String)> {
    let there = inputs.published.iter().filter(|version| !version.terminating);
    there
        .map(|version| (version.reference.clone(), format!("auto: {} was published", version.reference.name)))
        .collect()
}

fn promotion(environment: &PlatformEnvironment, name: &str, version: &VersionReference, why: String) -> Promotion {
    let spec = PromotionSpec {
        target: environment.metadata.name.clone().unwrap_or_default(),
        source: PromotionSource { version: Some(version.name.clone()), ..PromotionSource::default() },
        config: None,
        reason: Some(why),
        dry_run: false,
        emergency: false,
        lift_veto: false,
        confirmations: vec![],
        cancel: false,
        ttl_after_finished: Some(TTL.to_owned()),
    };
    let mut promotion = Promotion::new(name, spec);
    promotion.metadata.namespace.clone_from(&environment.metadata.namespace);
    let annotation = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    promotion.metadata.annotations =
        Some([annotation(ANNOTATION_AUTO, "true"), annotation(ANNOTATION_CREATED_BY, FIELD_MANAGER)].into());
    promotion
}
