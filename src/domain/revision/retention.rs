//! Which revisions are kept, and which go.
//!
//! Each revision says from where on the history is complete (`retainedFrom`). So what is missing before that was
//! deleted by rule, what is missing after it was deleted by somebody, and the record itself, which is sealed, is the
//! anchor: it names the digest of the one before.

use std::collections::BTreeSet;

use super::History;
use crate::api::RevisionNumber;

/// What the next revision says: with it, this many are kept in a row.
#[must_use]
pub fn retained_from(history: &History, limit: u32) -> Option<RevisionNumber> {
    let newest = history.newest()?;
    let next = newest.number.next().get();
    let first = RevisionNumber::new(next.saturating_sub(limit.max(2)).saturating_add(1))?.max(newest.retained_from);
    (first > RevisionNumber::FIRST).then_some(first)
}

/// The revisions that the newest one lets go, but for those that something rests on: the last good one, a rollback
/// whose veto holds, and what it rolled back. `asked` are those that promotions on their way name.
#[must_use]
pub fn surplus(history: &History, asked: &BTreeSet<RevisionNumber>) -> Vec<RevisionNumber> {
    let Some(newest) = history.newest() else { return vec![] };
    let mut kept = asked.clone();
    kept.extend(history.last_good().map(|record| record.number));
    for veto in history.vetoes() {
        kept.insert(veto.revision);
        let rolled_back =
            history.iter().find(|record| record.number < veto.revision && record.has_version(&veto.version.digest));
        kept.extend(rolled_back.map(|record| record.number));
    }
    let goes = |number: &RevisionNumber| *number < newest.retained_from && !kept.contains(number);
    history.iter().map(|record| record.number).filter(goes).collect()
}
