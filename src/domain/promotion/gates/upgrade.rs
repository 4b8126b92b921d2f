//! `upgrade`: the version is not older than the one that the target has. Going back is a rollback, which brings the
//! configuration back as well.

use super::{Finding, Input};
use crate::{api::GateType, domain::version::order};

const GATE: GateType = GateType::Upgrade;

pub(super) fn evaluate(input: Input<'_>) -> Finding {
    if let Some(why) = input.waiver() {
        return Finding::waived(GATE, why);
    }
    let Some(proposal) = input.proposal else { return Finding::unknown(GATE) };
    let target = input.target.name();
    match (&proposal.plan.version, &proposal.base.version) {
        (Some(new), Some(old)) if new.digest != old.digest && order::is_older(&new.name, &old.name) => {
            let before = input.target.history.iter().find(|record| record.has_version(&new.digest));
            let how = match before {
                Some(record) => format!("to go back, roll back to revision {} (source.revision)", record.number),
                None => "promote a newer version".to_owned(),
            };
            Finding::failed(
                GATE,
                "OlderVersion",
                format!("{} is older than {}, which {target} has; {how}", new.name, old.name),
            )
        }
        (Some(new), Some(old)) if new.digest != old.digest && !order::comparable(&new.name, &old.name) => {
            let message =
                format!("Nobody can say which of {} and {}, which {target} has, is newer", new.name, old.name);
            Finding::failed(GATE, "NotComparable", message)
        }
        (Some(new), Some(old)) if new.digest == old.digest => {
            Finding::passed(GATE, "SameVersion", format!("{target} has {} already", new.name))
        }
        (Some(new), Some(old)) => Finding::passed(
            GATE,
            "NewerVersion",
            format!("{} is newer than {}, which {target} has", new.name, old.name),
        ),
        _ => Finding::passed(GATE, "FirstVersion", format!("{target} has no version yet")),
    }
}
