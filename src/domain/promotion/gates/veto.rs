//! `veto`: the version was not rolled back in the target.

use super::{Finding, Input, by_revision};
use crate::api::GateType;

const GATE: GateType = GateType::Veto;

pub(super) fn evaluate(input: Input<'_>) -> Finding {
    if input.snapshot.promotion.spec.source.pending_config.is_some() {
        return Finding::waived(GATE, "Only configuration changes, the version stays");
    }
    let Some(proposal) = input.proposal else { return Finding::unknown(GATE) };
    let Some(version) = &proposal.plan.version else {
        return Finding::waived(GATE, "There is no version to look at");
    };
    let target = input.target.name();
    let Some(veto) = input.target.history.veto(&version.digest) else {
        return Finding::passed(GATE, "NoVeto", format!("{} was not rolled back in {target}", version.name));
    };
    let evidence = by_revision(target, veto.revision, &version.digest);
    let rolled_back = format!("{} was rolled back in {target} by revision {}", version.name, veto.revision);
    if input.snapshot.promotion.spec.lift_veto {
        return Finding {
            reason: "VetoLifted",
            ..Finding::waived(GATE, format!("{rolled_back}; this promotion lifts the veto"))
        }
        .resting_on(evidence);
    }
    let message =
        format!("{rolled_back}; promote a newer version, or create the promotion anew with liftVeto and a reason");
    Finding::failed(GATE, "RolledBack", message).resting_on(evidence)
}
