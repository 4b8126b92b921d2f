//! Promotions from their creation to their end, in a small world.

use serde_json::json;

use crate::{
    api::{ANNOTATION_ENDED, Cause, DeploymentState, GateState, PromotionPhase},
    domain::{
        promotion::{
            live::{LiveLook, Names},
            plan::{Action, Step, plan},
            world::{Reads, World, number},
        },
        revision::chain,
    },
};

pub(super) fn dev_to_staging() -> serde_json::Value {
    json!({"target": "staging", "source": {"environment": "dev"}, "reason": "September release"})
}

#[test]
fn the_plan_is_shown_before_anything_moves_and_one_revision_moves_it() {
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    world.settle("p");
    assert_eq!(world.journal, ["show p", "commit staging-2", "status p"]);
    assert_eq!(world.phase("p"), PromotionPhase::ReadyForDeploy);
    let record = &world.newest("staging").spec;
    assert_eq!((record.cause, record.actor.as_str()), (Cause::Promoted, "ana"));
    assert_eq!(record.reason.as_deref(), Some("September release"));
    assert_eq!(record.promotion.as_ref().unwrap().name, "p");
    assert_eq!(record.changes.content["flows"].added, ["Signup"]);
    assert!(record.gates.iter().all(|gate| gate.state.lets_pass()));
    let stored: Vec<_> = world
        .revisions
        .values()
        .filter(|revision| revision.spec.environment == "staging")
        .map(|revision| json!(revision.spec))
        .collect();
    assert_eq!(chain::verify(&stored), Ok(()));
}

#[test]
fn live_reads_are_good_enough_only_for_the_history_and_the_names_that_they_were_of() {
    // Found by the model (tests/model): the watches go on after the reads, each kind at its own pace. A revision that an
    // unknown promotion made, or a new version of the source, is then seen from afar only.
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    let seen = |world: &World| {
        let (promotion, reads) = (world.promotions["p"].clone(), Reads::default());
        let snapshot = world.snapshot(&promotion, &reads);
        let names = Names::of(&promotion, |name| snapshot.environments.get(name).cloned());
        (names, promotion.clone(), snapshot.target().cloned())
    };
    let (names, promotion, target) = seen(&world);
    assert!(names.environments.iter().eq(["dev", "staging"]) && names.versions.iter().eq(["v1.0.0", "v1.1.0"]));
    let look = LiveLook::new(names.clone(), &promotion, target.as_ref());
    assert!(look.covers(&names, &promotion, target.as_ref()));

    let mut other = world.clone();
    other.release("dev", "v2.0.0");
    let (names, promotion, target) = seen(&other);
    assert!(!look.covers(&names, &promotion, target.as_ref()), "nobody read v2.0.0 live");

    let mut other = world.clone();
    other.release("staging", "v1.0.0");
    let (names, promotion, target) = seen(&other);
    assert!(!look.covers(&names, &promotion, target.as_ref()), "somebody has moved something into the target since");

    // Its status came, and the revision that the status names has not: the history was not cut.
    let (names, _, target) = seen(&world);
    world.settle("p");
    let (_, promotion, _) = seen(&world);
    assert!(!look.covers(&names, &promotion, target.as_ref()), "it has moved since");
}

#[test]
fn an_end_that_says_nothing_moved_gives_way_to_a_history_that_says_otherwise() {
    // Found by the model (tests/model): one operator moves it on live reads from before the cancel, another one, whose
    // history is behind, writes that it was cancelled before it moved anything.
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    let mut behind = world.clone();
    world.settle("p");
    world.promotions.get_mut("p").unwrap().spec.cancel = true;
    behind.promotions.get_mut("p").unwrap().spec.cancel = true;
    behind.settle("p");
    assert_eq!(behind.phase("p"), PromotionPhase::Cancelled);
    world.promotions.get_mut("p").unwrap().status = behind.promotions["p"].status.clone();
    world.wait(1);
    world.promote("q", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("q");
    assert_eq!((world.phase("q"), world.has("staging")), (PromotionPhase::Evaluating, "v1.1.0"), "p is on its way");
    // Nor does the mark of that end hold.
    let annotations = world.promotions.get_mut("p").unwrap().metadata.annotations.as_mut().unwrap();
    annotations.insert(ANNOTATION_ENDED.to_owned(), "Cancelled".to_owned());
    for _ in 0..2 {
        world.settle("p");
        assert_eq!((world.phase("p"), world.status("p").revision), (PromotionPhase::ReadyForDeploy, Some(number(2))));
    }
}

#[test]
fn a_rollback_restores_version_and_configuration_together_and_waives_what_makes_no_sense_backwards() {
    let mut world = World::shop();
    world.rules(
        "staging",
        &json!({"from": ["dev"], "validations": ["e2e"], "versions": "^9", "requires": [{"environment": "dev"}]}),
    );
    world.configure("staging", &json!({"variables": [{"name": "URL", "value": "old"}]}));
    world.configure("staging", &json!({"variables": [{"name": "URL", "value": "new"}]}));
    world.release("staging", "v2.0.0");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 2}, "reason": "broken"}));
    world.settle("back");
    let record = &world.newest("staging").spec;
    assert_eq!((record.cause, record.restores, world.has("staging")), (Cause::RolledBack, Some(number(2)), "v1.0.0"));
    assert_eq!(record.config.variables[0].value.as_deref(), Some("old"));
    for gate in ["from", "validation/e2e", "versions", "upgrade", "requires/dev"] {
        assert_eq!(world.gate("back", gate).state, GateState::Waived, "{gate}");
    }
    assert_eq!(record.vetoes.as_ref().unwrap().name, "v2.0.0");
}

#[test]
fn an_emergency_rollback_goes_past_queue_and_confirmations_and_is_marked() {
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 2}}));
    world.release("staging", "v1.1.0");
    world.promote("p", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("p");
    world.wait(1);
    world
        .promote("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true, "reason": "fire"}));
    world.settle_all();
    assert_eq!(world.has("staging"), "v1.0.0");
    assert!(world.newest("staging").spec.emergency);
    assert_eq!(world.phase("p"), PromotionPhase::Evaluating, "it waits until the rollback has ended");
}

#[test]
fn a_dry_run_shows_everything_and_moves_nothing() {
    let mut world = World::shop();
    let mut spec = dev_to_staging();
    spec["dryRun"] = json!(true);
    world.promote("p", &spec);
    world.settle("p");
    assert_eq!(world.journal, ["status p"]);
    assert_eq!(world.phase("p"), PromotionPhase::DryRun);
    assert!(world.status("p").plan.is_some() && !world.status("p").gates.is_empty());
    assert_eq!(world.has("staging"), "v1.0.0");
}

#[test]
fn a_status_that_was_wiped_comes_back_the_same() {
    for deployed in [None, Some("Succeeded"), Some("Failed")] {
        let mut world = World::shop();
        world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}, "confirmations": {"required": 1}}));
        world.promote("p", &dev_to_staging());
        world.settle("p");
        world.confirm("p", "ben");
        world.settle("p");
        if let Some(state) = deployed {
            world.report("staging", number(2), state);
            world.settle("p");
        }
        let before = world.status("p").clone();
        world.promotions.get_mut("p").unwrap().status = None;
        world.settle("p");
        let mut after = world.status("p").clone();
        after.finished_at = before.finished_at;
        for (condition, old) in after.conditions.iter_mut().zip(&before.conditions) {
            condition.last_transition_time = old.last_transition_time;
        }
        assert_eq!(after, before);
    }
}

#[test]
fn what_was_cancelled_moves_nothing_and_what_has_moved_cannot_be_cancelled() {
    // Kargo #6810: aborting a queued promotion corrupted the stage.
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 1}}));
    world.promote("p", &dev_to_staging());
    world.wait(1);
    world.promote("q", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle_all();
    world.promotions.get_mut("p").unwrap().spec.cancel = true;
    world.settle_all();
    assert_eq!(world.phase("p"), PromotionPhase::Cancelled);
    assert_eq!(world.phase("q"), PromotionPhase::AwaitingConfirmation, "the next one is in line");
    world.confirm("q", "ben");
    world.settle("q");
    world.promotions.get_mut("q").unwrap().spec.cancel = true;
    world.settle("q");
    assert_eq!((world.phase("q"), world.has("staging")), (PromotionPhase::ReadyForDeploy, "v2.0.0"));
}

#[test]
fn an_ended_promotion_goes_when_its_time_is_over_and_not_before() {
    let mut world = World::shop();
    let mut spec = dev_to_staging();
    spec["ttlAfterFinished"] = json!("10m");
    world.promote("p", &spec);
    world.settle("p");
    world.deployed("staging");
    let rest = world.settle("p").unwrap();
    world.wait(9);
    assert_eq!(world.settle("p").unwrap().wake, rest.wake);
    world.now = rest.wake.unwrap();
    assert!(world.settle("p").is_none() && world.promotions.is_empty());
}

#[test]
fn pending_configuration_is_taken_by_a_promotion_and_by_nothing_else() {
    let mut world = World::shop();
    world.edit("production", &json!({"flags": [{"name": "BETA", "enabled": true}]}));
    world.promote("version", &json!({"target": "production", "source": {"version": "v1.1.0"}}));
    world.settle("version");
    world.deployed("production");
    world.settle("version");
    assert!(world.newest("production").spec.config.flags.is_empty(), "a promotion of a version leaves it waiting");
    world.promote("config", &json!({"target": "production", "source": {"pendingConfig": true}}));
    world.settle("config");
    let record = &world.newest("production").spec;
    assert_eq!((record.cause, record.changes.flags.added.as_slice()), (Cause::ConfigChanged, &["BETA".to_owned()][..]));
    assert_eq!(world.has("production"), "v1.1.0");
}

#[test]
fn configuration_travels_by_name_and_references_mean_the_target_s_own_secret() {
    let mut world = World::shop();
    let key = |path: &str| json!({"variables": [{"name": "API_KEY", "vault": {"path": path, "key": "api_key"}}, {"name": "URL", "value": path}]});
    world.configure("staging", &key("payments"));
    world.configure("dev", &key("payments-v2"));
    world.promote(
        "p",
        &json!({"target": "staging", "source": {"environment": "dev"}, "config": {"variables": ["API_KEY"]}}),
    );
    world.settle("p");
    let record = &world.newest("staging").spec;
    assert_eq!(record.changes.variables.changed, ["API_KEY"]);
    let vault = record.config.variables[0].vault.as_ref().unwrap();
    assert_eq!(vault.path, "payments-v2", "relative: below the target's own prefix");
    assert_eq!(record.config.variables[1].value.as_deref(), Some("payments"), "what is not named stays");
}

#[test]
fn bad_input_ends_or_waits_with_a_remedy() {
    let cases = [
        (json!({"target": "qa", "source": {"environment": "dev"}}), PromotionPhase::Pending, "no environment qa"),
        (json!({"target": "staging", "source": {"environment": "qa"}}), PromotionPhase::Pending, "no environment qa"),
        (json!({"target": "staging", "source": {"version": "v9.0.0"}}), PromotionPhase::Pending, "publish it"),
        (
            json!({"target": "staging", "source": {"revision": 7}}),
            PromotionPhase::Rejected,
            "those that are kept are: 1",
        ),
        (json!({"target": "staging", "source": {"revision": 1}}), PromotionPhase::Rejected, "already"),
        (
            json!({"target": "staging", "source": {"environment": "dev"}, "config": {"variables": ["NOPE"]}}),
            PromotionPhase::Rejected,
            "NOPE",
        ),
        (json!({"target": "staging", "source": {"pendingConfig": true}}), PromotionPhase::Succeeded, "Nothing to do"),
        (json!({"target": "staging", "source": {"version": "v1.0.0"}}), PromotionPhase::Succeeded, "Nothing to do"),
    ];
    for (spec, phase, words) in cases {
        let mut world = World::shop();
        world.promote("p", &spec);
        world.settle("p");
        let ready = world.status("p").conditions[0].clone();
        assert_eq!(world.phase("p"), phase, "{spec}: {}", ready.message);
        assert!(ready.message.contains(words), "{spec}: {}", ready.message);
        assert!(!world.journal.iter().any(|write| write.starts_with("commit")), "{spec}");
    }
}

#[test]
fn a_version_that_goes_meanwhile_is_waited_for_and_never_moved() {
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 1}}));
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.confirm("p", "ben");
    let gone = world.versions.remove("v1.1.0").unwrap();
    world.settle("p");
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Pending, "v1.0.0"));
    world.versions.insert("v1.1.0".to_owned(), gone);
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
}

#[test]
fn a_target_that_is_being_deleted_takes_nothing_in() {
    let mut world = World::shop();
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now);
    world.env("staging").metadata.deletion_timestamp = Some(now);
    world.promote("p", &dev_to_staging());
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Rejected);
}

#[test]
fn two_with_the_same_plan_move_it_once() {
    // Kargo #5937: duplicate promotions.
    let mut world = World::shop();
    world.promote("one", &dev_to_staging());
    world.wait(1);
    world.promote("two", &dev_to_staging());
    world.settle_all();
    assert_eq!(world.phase("two"), PromotionPhase::Evaluating, "the first one may still fail");
    world.deployed("staging");
    world.settle_all();
    assert_eq!(world.phase("two"), PromotionPhase::Succeeded);
    assert_eq!(world.history("staging").iter().count(), 2);
}

#[test]
fn a_queued_promotion_is_judged_again_when_its_turn_comes() {
    // Kargo PR #7031: 193 of 193 queued promotions skipped verification.
    let mut world = World::shop();
    world.rules("staging", &json!({"requires": [{"environment": "dev"}]}));
    world.promote("one", &dev_to_staging());
    world.wait(1);
    world.promote("two", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle_all();
    world.deployed("staging");
    world.settle_all();
    assert_eq!(world.has("staging"), "v1.1.0");
    assert_eq!(
        (world.phase("two"), world.gate("two", "requires/dev").reason.as_str()),
        (PromotionPhase::Evaluating, "NotThereYet")
    );
}

#[test]
fn who_sees_an_old_world_looks_again_before_the_commit() {
    // Kargo PR #6029: a stale cache made finished steps run again.
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    let mut stale = world.clone();
    world.settle("p");
    let promotion = stale.promotions["p"].clone();
    let mut reads = Reads::default();
    loop {
        match plan(&stale.snapshot(&promotion, &reads)) {
            Step::Read(needed) => stale.grant(&mut reads, needed),
            Step::Act(Action::Show(status)) => {
                stale.promotions.get_mut("p").unwrap().status = Some(*status);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let promotion = stale.promotions["p"].clone();
    assert_eq!(plan(&stale.snapshot(&promotion, &reads)), Step::Refresh, "nothing is committed on what is not fresh");
    reads.fresh = true;
    let promotion = world.promotions["p"].clone();
    let step = plan(&world.snapshot(&promotion, &reads));
    assert!(matches!(step, Step::Rest(_)), "and what is fresh shows that it is done: {step:?}");
    assert_eq!(
        world
            .newest("staging")
            .status
            .as_ref()
            .and_then(|status| status.deployment.as_ref())
            .map(|outcome| outcome.state),
        None::<DeploymentState>
    );
}

#[test]
fn what_rests_stays_at_rest() {
    // Kargo #6790: a controller that stops silently; here nothing waits without a reason, and nothing is written twice.
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 1}, "validations": ["e2e"]}));
    world.promote("p", &dev_to_staging());
    world.settle("p");
    let writes = world.journal.len();
    world.wait(600);
    world.settle("p");
    assert_eq!(world.journal.len(), writes);
    assert!(world.status("p").waiting_for.as_ref().is_some_and(|waiting| waiting.contains("e2e")));
}

#[test]
fn a_plan_that_becomes_empty_is_written_without_its_difference() {
    // Server-side apply makes null of an object that it empties, which the schema refuses: then nothing is said any more.
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 1}}));
    world.promote("one", &dev_to_staging());
    world.wait(1);
    world.promote("two", &dev_to_staging());
    world.settle_all();
    world.confirm("one", "ben");
    world.settle_all();
    let two = json!(world.status("two"));
    assert!(two["plan"].is_object() && two["plan"].get("diff").is_none(), "{two}");
}

#[test]
fn what_has_ended_never_begins_anew_even_if_its_status_is_lost() {
    let mut world = World::shop();
    world.rules("staging", &json!({"queue": "Supersede", "confirmations": {"required": 1}}));
    world.promote("old", &dev_to_staging());
    world.settle_all();
    world.wait(1);
    world.promote("new", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle_all();
    assert_eq!(world.phase("old"), PromotionPhase::Superseded);
    world.promotions.get_mut("new").unwrap().spec.cancel = true;
    world.settle_all();
    world.rules("staging", &json!({}));
    world.promotions.get_mut("old").unwrap().status = None;
    world.settle_all();
    assert_eq!((world.phase("old"), world.has("staging")), (PromotionPhase::Superseded, "v1.0.0"));
}

#[test]
fn what_names_something_missing_does_not_hold_up_the_others() {
    let mut world = World::shop();
    world.rules("staging", &json!({"queue": "Reject"}));
    world.promote("typo", &json!({"target": "staging", "source": {"version": "v7.7.7"}}));
    world.settle_all();
    world.wait(1);
    world.promote("right", &dev_to_staging());
    world.settle_all();
    assert_eq!((world.phase("typo"), world.has("staging")), (PromotionPhase::Pending, "v1.1.0"));
}

#[test]
fn within_one_second_the_name_decides() {
    let mut world = World::shop();
    world.rules("staging", &json!({"queue": "Supersede", "confirmations": {"required": 1}}));
    for (name, uid, version) in [("r-1", "u-9", "v1.1.0"), ("r-2", "u-1", "v2.0.0")] {
        world.promote_as(name, uid, &json!({"target": "staging", "source": {"version": version}}));
    }
    world.settle_all();
    assert_eq!(
        (world.phase("r-1"), world.phase("r-2")),
        (PromotionPhase::Superseded, PromotionPhase::AwaitingConfirmation)
    );
}

#[test]
fn a_revision_that_was_edited_is_not_restored() {
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    world.settle("p");
    let first = world.revisions.get_mut(&("staging".to_owned(), number(1))).unwrap();
    first.spec.actor = "mallory".to_owned();
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}));
    world.settle("back");
    assert_eq!((world.phase("back"), world.has("staging")), (PromotionPhase::Rejected, "v1.1.0"));
    assert!(world.status("back").conditions[0].message.contains("was edited"));
}

#[test]
fn a_version_that_is_being_deleted_can_still_be_gone_back_to() {
    let mut world = World::shop();
    let requires = json!({"variables": ["NEVER_THERE"]});
    world.version("v1.0.0").spec.requires = Some(serde_json::from_value(requires).unwrap());
    world.release("staging", "v1.1.0");
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now);
    world.version("v1.0.0").metadata.deletion_timestamp = Some(now);
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}}));
    world.settle("back");
    assert_eq!(world.has("staging"), "v1.0.0", "that is what it is kept for, and its configuration is what it had");
}

#[test]
fn forwards_again_after_a_rollback_is_a_promotion_like_any_other() {
    let mut world = World::shop();
    world.rules("staging", &json!({"validations": ["e2e"]}));
    world.release("staging", "v1.1.0");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}}));
    world.settle("back");
    world.deployed("staging");
    world.settle("back");
    let forwards = json!({"target": "staging", "source": {"revision": 2}, "emergency": true, "liftVeto": true});
    world.promote("forwards", &forwards);
    world.settle("forwards");
    assert_eq!(world.gate("forwards", "validation/e2e").state, GateState::Pending, "no way around the gates");
    world.validated("v1.1.0", "e2e", "Passed");
    world.settle("forwards");
    assert_eq!(world.has("staging"), "v1.1.0");
    assert!(world.history("staging").vetoes().is_empty(), "what it replaced was good");
}

#[test]
fn a_refusal_that_says_something_else_each_time_is_said_once() {
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    let mut reads = Reads::default();
    let refused = |world: &World, reads: &Reads, refusal: &str| {
        let promotion = world.promotions["p"].clone();
        let snapshot = world.snapshot(&promotion, reads);
        match plan(&crate::domain::promotion::snapshot::Snapshot { refusal: Some(refusal), ..snapshot }) {
            Step::Rest(rest) => rest,
            other => panic!("{other:?}"),
        }
    };
    let first = refused(&world, &reads, "refused by port 1");
    assert!(first.retry);
    world.promotions.get_mut("p").unwrap().status = Some((*first.status).clone());
    reads.fresh = true;
    let second = refused(&world, &reads, "refused by port 2");
    assert!(second.retry && second.status == first.status, "else each write would start the next try");
}

#[test]
fn of_promotions_that_are_made_by_themselves_the_newest_version_wins() {
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 1}}));
    // Within one second, and the newer one has the smaller name: v10 comes after v2.
    world.publish("v10.0.0", &json!({"flows": ["Checkout"]}));
    for version in ["v2.0.0", "v10.0.0"] {
        let name = format!("staging-auto-{version}");
        world.promote(&name, &json!({"target": "staging", "source": {"version": version}, "ttlAfterFinished": "24h"}));
        let annotations = world.promotions.get_mut(&name).unwrap().metadata.annotations.as_mut().unwrap();
        annotations.insert("platform.puraify.app/auto".to_owned(), "true".to_owned());
    }
    world.settle_all();
    assert_eq!(world.phase("staging-auto-v2.0.0"), PromotionPhase::Superseded);
    assert_eq!(world.phase("staging-auto-v10.0.0"), PromotionPhase::AwaitingConfirmation);
    world.wait(60 * 48);
    world.settle_all();
    assert!(!world.promotions.contains_key("staging-auto-v2.0.0"), "it goes when its time is over");
}
