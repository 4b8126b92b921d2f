//! `queue`: one promotion moves into an environment at a time.
//!
//! One is on its way from the revision that it made until it has ended. Until then, and among those that wait, the order
//! is that of creation; emergency rollbacks go first. It is read from the target's history and from the promotions
//! themselves, so a status that is late changes nothing: nor one that says that nothing was moved, where the history
//! has the revision.
//!
//! Of those that were made by themselves the newest version wins, whatever the policy and whichever was made first: two
//! operators may make them in any order. None of them is refused because another one is there: nobody would make it anew.

use super::{Finding, Input};
use crate::{
    api::{GateType, rules::QueuePolicy},
    domain::promotion::snapshot::{Rival, is_auto, version_of},
};

#[cfg(test)]
mod tests;

const GATE: GateType = GateType::Queue;

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This promotion's.
    Mine,
    /// Not yet: this other one is on its way or comes first; so many come before.
    After(String, u32),
    /// Never: a newer one takes its place.
    Superseded(String),
    /// Never: an older one is on its way, and the target takes no second one.
    Refused(String),
}

/// Whose turn it is.
#[must_use]
pub fn turn(input: Input<'_>) -> Turn {
    let Input { snapshot, target, .. } = input;
    let rivals: Vec<&Rival> = snapshot.rivals.iter().filter(|rival| rival.uid != snapshot.uid()).collect();
    if input.is_emergency() {
        return Turn::Mine;
    }
    let me = snapshot.place();
    // Where something that it names is not there, there is no place that a newer one could take.
    let has_place = input.proposal.is_some();
    let on_its_way = |rival: &&&Rival| target.history.iter().any(|record| record.is_named(&rival.name));
    let moving = rivals.iter().find(on_its_way).copied();
    let mine = version_of(snapshot.promotion).filter(|_| is_auto(snapshot.promotion));
    let gives_way = |rival: &Rival| rival.auto.is_some() && rival.auto < mine;
    let waiting = || rivals.iter().filter(|rival| !rival.idle && !on_its_way(rival) && !gives_way(rival)).copied();
    let goes_first = |rival: &Rival| rival.emergency && rival.asks.is_some_and(|number| target.goes_back_to(number));
    let before = waiting().filter(|rival| goes_first(rival) || rival.place < me);
    if has_place
        && mine.is_some()
        && let Some(newer) = waiting().find(|rival| rival.auto > mine)
    {
        return Turn::Superseded(newer.name.clone());
    }
    match policy(input) {
        QueuePolicy::Queue => {
            let mut ahead: Vec<&Rival> = moving.into_iter().chain(before).collect();
            ahead.sort_by(|one, other| (!goes_first(one), &one.place).cmp(&(!goes_first(other), &other.place)));
            let first = moving.or(ahead.first().copied());
            first.map_or(Turn::Mine, |first| Turn::After(first.name.clone(), count(ahead.len())))
        }
        QueuePolicy::Supersede => {
            if let Some(newer) = waiting().find(|rival| has_place && rival.place > me && rival.promising) {
                return Turn::Superseded(newer.name.clone());
            }
            moving.map_or(Turn::Mine, |moving| Turn::After(moving.name.clone(), 1))
        }
        QueuePolicy::Reject => {
            let older = moving.into_iter().chain(before).filter(|rival| goes_first(rival) || rival.place < me);
            match (older.min_by(|one, other| one.place.cmp(&other.place)), moving) {
                (Some(older), _) => Turn::Refused(older.name.clone()),
                // A newer one that went first, while this one waited for something that was not there.
                (None, Some(moving)) => Turn::After(moving.name.clone(), 1),
                (None, None) => Turn::Mine,
            }
        }
    }
}

fn policy(input: Input<'_>) -> QueuePolicy {
    match input.rules().map_or(QueuePolicy::default(), |rules| rules.queue) {
        QueuePolicy::Reject if is_auto(input.snapshot.promotion) => QueuePolicy::Queue,
        policy => policy,
    }
}

fn count(ahead: usize) -> u32 {
    u32::try_from(ahead).unwrap_or(u32::MAX)
}

pub(super) fn evaluate(input: Input<'_>) -> Finding {
    let target = input.target.name();
    if input.is_emergency() {
        return Finding::waived(GATE, "An emergency rollback does not wait for its turn");
    }
    match turn(input) {
        Turn::Mine => Finding::passed(GATE, "FirstInLine", format!("Nothing else is on its way into {target}")),
        Turn::After(name, count) => {
            let message =
                format!("{count} before it into {target}; first {name} has to end (look at it, or cancel it)");
            Finding::pending(GATE, "InLine", message)
        }
        Turn::Superseded(name) => {
            Finding::failed(GATE, "Superseded", format!("The newer promotion {name} takes its place"))
        }
        Turn::Refused(name) => {
            let message = format!(
                "{target} takes one promotion at a time (queue: Reject), and {name} is on its way; create it anew when that has ended"
            );
            Finding::failed(GATE, "Occupied", message)
        }
    }
}
