//! What is due by itself, in a small world.

use serde_json::json;

use super::{Inputs, due};
use crate::{
    api::PromotionPhase,
    domain::promotion::world::{Reads, World},
};

/// The version that is due in an environment, as its controller looks at it.
fn due_in(world: &World, environment: &str) -> Option<String> {
    let mut any = World::shop();
    any.promote("any", &json!({"target": environment, "source": {"environment": "dev"}}));
    let reads = Reads::default();
    let snapshot = world.snapshot(&any.promotions["any"], &reads);
    let from = world.environments[environment].spec.promotion.as_ref().unwrap().from.clone();
    let inputs = Inputs {
        upstream: from.iter().map(|name| snapshot.environments[name].clone()).collect(),
        published: snapshot.versions.values().cloned().collect(),
        promotions: world.promotions.keys().cloned().collect(),
    };
    let promotion = due(&world.environments[environment], &world.history(environment), &inputs)?;
    promotion.spec.source.version
}

#[test]
fn nothing_is_taken_from_an_environment_whose_newest_revision_cannot_be_read() {
    let mut world = World::shop();
    world.rules("staging", &json!({"auto": true, "from": ["dev"]}));
    assert_eq!(due_in(&world, "staging").as_deref(), Some("v1.1.0"));
    world.unreadable.insert("dev".to_owned(), "dev-2".to_owned());
    assert_eq!(due_in(&world, "staging"), None);
}

/// The promotion to this version was made by itself, and has ended as it should.
fn asked(world: &mut World, version: &str) -> String {
    let name = format!("staging-auto-{version}");
    world.promote(&name, &json!({"target": "staging", "source": {"version": version}, "ttlAfterFinished": "24h"}));
    let annotations = world.promotions.get_mut(&name).unwrap().metadata.annotations.as_mut().unwrap();
    annotations.insert("platform.puraify.app/auto".to_owned(), "true".to_owned());
    world.settle_all();
    name
}

#[test]
fn what_was_rejected_goes_after_a_day_and_is_asked_for_anew_if_it_is_still_due() {
    let mut world = World::shop();
    world.rules("staging", &json!({"auto": true, "validations": ["e2e"]}));
    world.validated("v2.0.0", "e2e", "Failed");
    assert_eq!(due_in(&world, "staging").as_deref(), Some("v2.0.0"));
    let name = asked(&mut world, "v2.0.0");
    assert_eq!((world.phase(&name), due_in(&world, "staging")), (PromotionPhase::Rejected, None));
    world.validated("v2.0.0", "e2e", "Passed");
    world.wait(60 * 24);
    world.settle_all();
    assert!(world.promotions.is_empty());
    assert_eq!(due_in(&world, "staging").as_deref(), Some("v2.0.0"));
}

#[test]
fn what_was_superseded_goes_too_and_the_newer_one_stays_due() {
    let mut world = World::shop();
    world.rules("staging", &json!({"auto": true, "confirmations": {"required": 1}}));
    let older = asked(&mut world, "v2.0.0");
    world.publish("v10.0.0", &json!({"flows": ["Checkout"]}));
    asked(&mut world, "v10.0.0");
    assert_eq!(world.phase(&older), PromotionPhase::Superseded);
    world.wait(60 * 24);
    world.settle_all();
    assert!(!world.promotions.contains_key(&older), "nobody needs it: it was for an older version");
    assert_eq!(due_in(&world, "staging"), None, "v10.0.0 is asked for");
}

#[test]
fn what_somebody_cancelled_stays_and_keeps_its_version_out_also_if_it_had_ended_before() {
    for ended_before in [false, true] {
        let mut world = World::shop();
        world.rules("staging", &json!({"auto": true, "validations": ["e2e"]}));
        world.validated("v2.0.0", "e2e", if ended_before { "Failed" } else { "Running" });
        let name = asked(&mut world, "v2.0.0");
        world.promotions.get_mut(&name).unwrap().spec.cancel = true;
        world.settle_all();
        world.wait(60 * 48);
        world.settle_all();
        assert!(world.promotions.contains_key(&name));
        assert_eq!(due_in(&world, "staging"), None);
    }
}

#[test]
fn a_version_that_was_rolled_back_does_not_hide_the_others() {
    let mut world = World::shop();
    world.rules("staging", &json!({"auto": true}));
    world.publish("v3.0.0", &json!({"flows": ["Checkout"]}));
    let name = asked(&mut world, "v3.0.0");
    assert_eq!(world.has("staging"), "v3.0.0");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}));
    world.settle("back");
    assert_eq!((world.has("staging"), due_in(&world, "staging").as_deref()), ("v1.0.0", Some("v2.0.0")), "{name}");
}
