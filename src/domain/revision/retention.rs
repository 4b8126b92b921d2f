//! Which revisions are kept, and which go.
//!
//! Each revision says from where on the history is complete (`retainedFrom`). So what is missing before that was
//! deleted by rule, what is missing after it was deleted by somebody, and the record itself, which is sealed, is the
//! anchor: it names the digest of the one before.

use std::collections::BTreeSet;

use super::History;
use crate::{api::RevisionNumber, domain::promotion::snapshot::Rival};

/// What the next revision says: with it, this many are kept in a row.
#[must_use]
pub fn retained_from(history: &History, limit: u32) -> Option<RevisionNumber> {
    let newest = history.newest()?;
    let next = newest.number.next().get();
    let first = RevisionNumber::new(next.saturating_sub(limit.max(2)).saturating_add(1))?.max(newest.retained_from);
    (first > RevisionNumber::FIRST).then_some(first)
}

/// The revisions that the newest one lets go, but for those that something rests on: the last good one, which may have been
/// taken back, and the one that the next failure would be answered with; a rollback whose veto holds, and what it rolled
/// back; and what promotions on their way would go back to, have made, or would be answered with if that fails.
#[must_use]
pub fn surplus(history: &History, on_their_way: &[Rival]) -> Vec<RevisionNumber> {
    let Some(newest) = history.newest() else { return vec![] };
    let mut kept: BTreeSet<RevisionNumber> = on_their_way.iter().filter_map(|rival| rival.asks).collect();
    let made = history.iter().filter(|record| on_their_way.iter().any(|rival| record.is_named(&rival.name)));
    for made in made {
        kept.insert(made.number);
        kept.extend(history.last_good_to_restore(made.number).map(|record| record.number));
    }
    kept.extend(history.last_good().map(|record| record.number));
    kept.extend(history.last_good_to_restore(newest.number.next()).map(|record| record.number));
    for veto in history.vetoes() {
        kept.insert(veto.revision);
        let rolled_back =
            history.iter().find(|record| record.number < veto.revision && record.has_version(&veto.version.digest));
        kept.extend(rolled_back.map(|record| record.number));
    }
    let goes = |number: &RevisionNumber| *number < newest.retained_from && !kept.contains(number);
    history.iter().map(|record| record.number).filter(goes).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        api::RevisionNumber,
        domain::{
            promotion::{
                snapshot::Rival,
                world::{World, number},
            },
            revision::retention,
        },
    };

    fn numbers(numbers: &[RevisionNumber]) -> Vec<u32> {
        numbers.iter().map(|number| number.get()).collect()
    }

    /// An environment that keeps two revisions, and has had these edits.
    fn edited(world: &mut World, environment: &str, edits: u32) {
        world.env(environment).spec.revision_history_limit = 2;
        for value in 0..edits {
            world.configure(environment, &json!({"flags": [{"name": format!("F{value}"), "enabled": true}]}));
        }
    }

    #[test]
    fn what_a_promotion_on_its_way_made_and_would_be_answered_with_stays() {
        let mut world = World::shop();
        world.promote("p", &json!({"target": "staging", "source": {"environment": "dev"}}));
        world.settle("p");
        edited(&mut world, "staging", 4);
        let rivals: Vec<Rival> = world.promotions.values().filter_map(Rival::of).collect();
        assert_eq!(numbers(&retention::surplus(&world.history("staging"), &rivals)), [4, 3]);
        assert_eq!(numbers(&retention::surplus(&world.history("staging"), &[])), [4, 3, 2]);
    }

    #[test]
    fn what_the_next_failure_would_be_answered_with_stays() {
        let mut world = World::shop();
        world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}));
        world.promote("up", &json!({"target": "staging", "source": {"version": "v1.1.0"}}));
        world.settle("up");
        world.deployed("staging");
        world.settle("up");
        world.promote("back", &json!({"target": "staging", "source": {"revision": 1}}));
        world.settle("back");
        // Nobody reports it, and what was deployed well last is what it took back.
        edited(&mut world, "staging", 2);
        let surplus = retention::surplus(&world.history("staging"), &[]);
        assert_eq!(numbers(&surplus), [] as [u32; 0]);
        for number in surplus {
            world.revisions.remove(&("staging".to_owned(), number));
        }
        world.promotions.remove("back");
        world.publish("v1.0.1", &json!({"flows": ["Checkout"]}));
        world.promote("next", &json!({"target": "staging", "source": {"version": "v1.0.1"}}));
        world.settle("next");
        world.report("staging", number(6), "Failed");
        world.settle("next");
        assert_eq!((world.newest("staging").spec.restores, world.has("staging")), (Some(number(1)), "v1.0.0"));
    }

    #[test]
    fn a_veto_that_was_lifted_does_not_come_back_when_old_revisions_go() {
        let mut world = World::shop();
        world.promote("up", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
        world.settle("up");
        world.deployed("staging");
        world.settle("up");
        world.promote("back", &json!({"target": "staging", "source": {"revision": 1}}));
        world.settle("back");
        world.deployed("staging");
        world.settle("back");
        let again = json!({"target": "staging", "source": {"version": "v2.0.0"}, "liftVeto": true});
        world.promote("again", &again);
        world.settle("again");
        edited(&mut world, "staging", 1);
        world.revisions.remove(&("staging".to_owned(), number(4)));
        assert!(world.history("staging").vetoes().is_empty(), "it is what runs");
    }
}
