//! Whose turn it is, and who may go past it.

use serde_json::json;

use crate::{
    api::{GateState, PromotionPhase},
    domain::{
        promotion::world::{World, number},
        revision::chain,
    },
};

/// staging has v1.1.0 as revision 2, and is back at v1.0.0 since revision 3.
fn rolled_back() -> World {
    let mut world = World::shop();
    world.release("staging", "v1.1.0");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}));
    world.settle("back");
    world.deployed("staging");
    world.settle("back");
    world.wait(1);
    world
}

fn forwards(world: &mut World) {
    let spec = json!({"target": "staging", "source": {"revision": 2}, "emergency": true, "liftVeto": true});
    world.promote("forwards", &spec);
}

#[test]
fn an_emergency_that_goes_forwards_needs_confirmations_and_is_none_in_the_history() {
    let mut world = rolled_back();
    world.rules("staging", &json!({"confirmations": {"required": 2}}));
    forwards(&mut world);
    world.settle("forwards");
    assert_eq!((world.phase("forwards"), world.has("staging")), (PromotionPhase::AwaitingConfirmation, "v1.0.0"));
    for user in ["ben", "cem"] {
        world.confirm("forwards", user);
    }
    world.settle("forwards");
    assert_eq!((world.has("staging"), world.newest("staging").spec.emergency), ("v1.1.0", false));
}

#[test]
fn an_emergency_that_goes_forwards_waits_for_its_turn_and_nobody_waits_for_it() {
    let mut world = rolled_back();
    world.rules("staging", &json!({"confirmations": {"required": 1}}));
    world.promote("p", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("p");
    world.wait(1);
    forwards(&mut world);
    world.settle_all();
    assert_eq!(world.gate("forwards", "queue").reason, "InLine");
    assert_eq!(world.phase("p"), PromotionPhase::AwaitingConfirmation, "it was there first");
    world.confirm("p", "ben");
    world.settle("p");
    assert_eq!((world.status("p").revision, world.has("staging")), (Some(number(4)), "v2.0.0"));
}

#[test]
fn what_goes_forwards_needs_the_configuration_that_its_version_requires() {
    let mut world = rolled_back();
    let requires = json!({"variables": ["BASE_URL"]});
    world.version("v1.1.0").spec.requires = Some(serde_json::from_value(requires).unwrap());
    forwards(&mut world);
    world.settle("forwards");
    assert_eq!(
        (world.gate("forwards", "completeness").reason.as_str(), world.has("staging")),
        ("Incomplete", "v1.0.0")
    );
}

#[test]
fn from_no_version_every_version_is_forwards() {
    let mut world = World::shop();
    let first = world.revisions.get_mut(&("staging".to_owned(), number(1))).unwrap();
    first.spec.version = None;
    first.spec = chain::sealed(first.spec.clone());
    world.release("staging", "v1.1.0");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}));
    world.settle("back");
    assert!(world.newest("staging").spec.version.is_none() && world.newest("staging").spec.emergency);
    world.deployed("staging");
    world.settle("back");
    world.rules("staging", &json!({"validations": ["e2e"], "confirmations": {"required": 1}}));
    forwards(&mut world);
    world.settle("forwards");
    assert!(world.newest("staging").spec.version.is_none());
    for gate in ["validation/e2e", "confirmations"] {
        assert_eq!(world.gate("forwards", gate).state, GateState::Pending, "{gate}");
    }
}

#[test]
fn what_names_something_that_is_not_there_is_superseded_by_nobody() {
    let mut world = World::shop();
    world.rules("staging", &json!({"queue": "Supersede", "confirmations": {"required": 1}}));
    world.promote("early", &json!({"target": "staging", "source": {"version": "v3.0.0"}}));
    world.wait(1);
    world.promote("other", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle_all();
    assert_eq!(world.phase("other"), PromotionPhase::AwaitingConfirmation, "early holds up nobody");
    world.settle("early");
    assert_eq!(world.phase("early"), PromotionPhase::Pending);
    world.publish("v3.0.0", &json!({"flows": ["Checkout"]}));
    world.settle("early");
    assert_eq!(world.phase("early"), PromotionPhase::Superseded, "now it has a place that a newer one can take");
}
