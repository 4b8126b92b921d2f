//! The revision that a promotion makes: what is written down for good.

use super::{
    proposal::Proposal,
    snapshot::{EnvironmentView, Snapshot},
};
use crate::{
    api::{
        ANNOTATION_CREATED_BY, Cause, Digest, EnvironmentRevision, EnvironmentRevisionSpec, FIELD_MANAGER, Gate,
        Promotion,
        promotion::{Confirmation, PromotionPlan},
        revision::{PromotionReference, RevisionReference},
    },
    domain::{
        environment::config,
        revision::{self, RevisionRecord, chain, retention},
    },
};

/// The revision that carries a proposal out.
#[must_use]
pub fn commit(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    proposal: &Proposal,
    gates: Vec<Gate>,
) -> EnvironmentRevisionSpec {
    let spec = &snapshot.promotion.spec;
    let plan = &proposal.plan;
    let backwards = plan.cause == Cause::RolledBack && !proposal.goes_forwards();
    let vetoes = backwards.then(|| proposal.base.version.clone()).flatten();
    let author = author(snapshot.promotion);
    let counts = |confirmation: &&Confirmation| confirmation.digest == plan.digest && confirmation.user != author;
    chain::sealed(EnvironmentRevisionSpec {
        generation: proposal.generation,
        cause: plan.cause,
        base: plan.taken_from.clone(),
        restores: proposal.restores,
        vetoes: vetoes.filter(|version| plan.version.as_ref().is_none_or(|new| new.digest != version.digest)),
        emergency: spec.emergency && !proposal.goes_forwards(),
        gates,
        plan_digest: Some(plan.digest),
        confirmations: spec.confirmations.iter().filter(counts).cloned().collect(),
        reason: spec.reason.clone(),
        version: plan.version.clone(),
        config: proposal.config.clone(),
        config_digest: plan.config_digest,
        declared: proposal.declared.clone(),
        changes: plan.diff.clone(),
        actor: author.to_owned(),
        ..following(snapshot, target, &proposal.base)
    })
}

/// The revision that answers a failed deployment: the last good one, version and configuration together.
#[must_use]
pub fn answer(
    snapshot: &Snapshot<'_>,
    target: &EnvironmentView,
    failed: (&RevisionRecord, &EnvironmentRevision),
    good: &EnvironmentRevision,
    diff: super::snapshot::ContentDiff,
    why: &str,
) -> EnvironmentRevisionSpec {
    let (base, current) = failed;
    let restored = config::restored(&current.spec.config, &good.spec.config, base.number.next());
    let mut changes = config::changes(&current.spec.config, &restored);
    changes.content = diff;
    let taken_back = base.version.clone().filter(|version| good.spec.version.as_ref() != Some(version));
    chain::sealed(EnvironmentRevisionSpec {
        cause: Cause::RolledBack,
        base: Some(RevisionReference { environment: target.name().to_owned(), revision: good.spec.revision }),
        restores: Some(good.spec.revision),
        vetoes: taken_back,
        reason: Some(why.chars().take(1024).collect()),
        version: good.spec.version.clone(),
        config_digest: config::digest(&restored),
        config: restored,
        declared: current.spec.declared.clone(),
        changes,
        ..following(snapshot, target, base)
    })
}

/// What every revision says that a promotion makes after this one.
fn following(snapshot: &Snapshot<'_>, target: &EnvironmentView, base: &RevisionRecord) -> EnvironmentRevisionSpec {
    let limit = target.environment.spec.revision_history_limit;
    let whose = (target.name(), target.uid());
    EnvironmentRevisionSpec {
        generation: base.generation,
        promotion: Some(PromotionReference { name: snapshot.name().to_owned(), uid: snapshot.uid().to_owned() }),
        retained_from: retention::retained_from(&target.history, limit),
        actor: FIELD_MANAGER.to_owned(),
        previous: Some(base.digest),
        ..revision::record::begin(whose, base.number.next(), Cause::Promoted, snapshot.now)
    }
}

/// The plan as its revision tells it; for a promotion whose status was lost.
#[must_use]
pub fn plan_of(revision: &EnvironmentRevisionSpec, before: Option<&RevisionRecord>) -> PromotionPlan {
    PromotionPlan {
        cause: revision.cause,
        version: revision.version.clone(),
        config_digest: revision.config_digest,
        taken_from: revision.base.clone(),
        replaces: before.and_then(|before| before.version.clone()),
        diff: revision.changes.clone(),
        digest: revision.plan_digest.unwrap_or(Digest::of(b"")),
    }
}

/// Who asked for the promotion, as the API server stamped it.
#[must_use]
pub fn author(promotion: &Promotion) -> &str {
    let annotations = promotion.metadata.annotations.as_ref();
    let stamped = annotations.and_then(|annotations| annotations.get(ANNOTATION_CREATED_BY)).map(String::as_str);
    stamped.filter(|author| !author.is_empty() && author.len() <= 512).unwrap_or("unknown")
}
