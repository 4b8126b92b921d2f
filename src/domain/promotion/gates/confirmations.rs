//! `confirmations`: enough people said yes to exactly this plan, the author not among them.

use std::collections::BTreeSet;

use super::{Finding, Input};
use crate::{
    api::{ANNOTATION_CREATED_BY, GateType, promotion::Evidence},
    domain::promotion::snapshot::{EnvironmentView, is_auto},
};

const GATE: GateType = GateType::Confirmations;

/// Only asked for where the target's rules demand some.
pub(super) fn evaluate(input: Input<'_>) -> Option<Finding> {
    let required = input.rules()?.confirmations.as_ref().filter(|rules| rules.required > 0)?.required;
    let promotion = input.snapshot.promotion;
    if input.is_emergency() {
        return Some(Finding::waived(GATE, "An emergency rollback needs no confirmation; it is marked in the history"));
    }
    let Some(proposal) = input.proposal else { return Some(Finding::unknown(GATE)) };
    let digest = proposal.plan.digest;
    let annotations = promotion.metadata.annotations.as_ref();
    let author = annotations.and_then(|annotations| annotations.get(ANNOTATION_CREATED_BY)).filter(|by| !by.is_empty());
    // Who asks may not be who confirms; if nobody knows who asks, nobody can say that.
    let Some(author) = author else {
        let message = format!(
            "It is not known who created this promotion, so nobody can say whether somebody else confirms it; create it anew \
             with the annotation {ANNOTATION_CREATED_BY}"
        );
        return Some(Finding::pending(GATE, "AuthorUnknown", message));
    };
    let confirmations = &promotion.spec.confirmations;
    let to_this = confirmations.iter().filter(|confirmation| confirmation.digest == digest);
    let authors = authors(input, author);
    let users: BTreeSet<&str> =
        to_this.map(|confirmation| confirmation.user.as_str()).filter(|user| !authors.contains(user)).collect();
    let evidence = Evidence {
        digest: Some(digest),
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        ..Evidence::default()
    };
    let count = users.len();
    if count >= usize::try_from(required).unwrap_or(usize::MAX) {
        let names: Vec<&str> = users.into_iter().collect();
        let message = format!("Confirmed by {}", names.join(", "));
        return Some(Finding::passed(GATE, "Confirmed", message).resting_on(evidence));
    }
    let mut message = format!("{count} of {required} people confirmed the plan {}", digest.short(12));
    let void: BTreeSet<&str> = confirmations
        .iter()
        .filter(|confirmation| confirmation.digest != digest)
        .map(|confirmation| confirmation.user.as_str())
        .collect();
    let void: Vec<&str> = void.into_iter().filter(|user| !evidence.users.iter().any(|yes| yes == user)).collect();
    if !void.is_empty() {
        message =
            format!("{message}; the plan has changed since {} confirmed it, which counts no more", void.join(", "));
    }
    for one in authors.iter().filter(|one| confirmations.iter().any(|given| given.user == **one)) {
        let did = if one == author { "created the promotion" } else { "asked for this version" };
        message = format!("{message}; {one} {did} and cannot confirm it");
    }
    let message = format!("{message}. Confirm with: kubectl penv confirm {}", input.snapshot.name());
    Some(Finding::pending(GATE, "NotConfirmed", message).resting_on(evidence))
}

/// Who may not confirm: who asked. Of a promotion that was made by itself these are the ones who brought its version to where it
/// comes from.
fn authors<'a>(input: Input<'a>, author: &'a str) -> BTreeSet<&'a str> {
    let mut authors = BTreeSet::from([author]);
    let Some(version) = input.version().filter(|_| is_auto(input.snapshot.promotion)) else { return authors };
    for name in input.rules().into_iter().flat_map(|rules| &rules.from) {
        let newest = input.snapshot.environments.get(name).and_then(EnvironmentView::newest);
        authors.extend(newest.filter(|newest| newest.has_version(&version.digest)).map(|newest| &*newest.actor));
    }
    authors
}
