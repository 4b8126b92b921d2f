//! What follows the commit, in a small world.

use serde_json::json;

use crate::{
    api::{Cause, GateState, PromotionPhase, condition::READY},
    domain::promotion::{
        plan::tests::dev_to_staging,
        world::{World, number},
    },
};

#[test]
fn that_a_release_is_being_published_is_told_only_when_it_takes_long() {
    let mut world = World::shop();
    let published = world.env("staging").status.clone();
    world.promote("p", &dev_to_staging());
    world.settle("p");
    // The moment after the commit: the environment and the promotion do not say so yet.
    world.env("staging").status = published;
    let status = world.promotions.get_mut("p").unwrap().status.as_mut().unwrap();
    (status.phase, status.revision) = (Some(PromotionPhase::Evaluating), None);
    let writes = world.journal.len();
    let rest = world.settle("p").unwrap();
    assert_eq!((world.journal.len(), world.phase("p")), (writes, PromotionPhase::Evaluating));
    world.now = rest.wake.unwrap();
    world.settle("p");
    assert_eq!(world.status("p").revision, Some(number(2)));
    assert!(world.status("p").waiting_for.as_ref().unwrap().contains("the environment publishes it"));
    world.publish_releases();
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::ReadyForDeploy);
}

#[test]
fn the_planner_ends_it() {
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.report("staging", number(2), "InProgress");
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::ReadyForDeploy);
    world.wait(1);
    world.report("staging", number(2), "Succeeded");
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Succeeded);
    assert!(world.status("p").waiting_for.is_none() && world.status("p").finished_at.is_some());
}

#[test]
fn reports_for_older_revisions_and_repeated_ones_change_nothing_wrong() {
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.report("staging", number(1), "Failed");
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::ReadyForDeploy);
    world.report("staging", number(2), "Succeeded");
    world.report("staging", number(2), "Succeeded");
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Succeeded);
    world.wait(1);
    world.report("staging", number(2), "Failed");
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Succeeded, "an end is final");
}

#[test]
fn a_release_that_must_stay_healthy_is_deployed_first_and_succeeds_later() {
    let mut world = World::shop();
    world.rules("staging", &json!({"deployment": {"soak": "10m"}}));
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.deployed("staging");
    let rest = world.settle("p").unwrap();
    assert_eq!(world.phase("p"), PromotionPhase::Deployed);
    world.now = rest.wake.unwrap();
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Succeeded);
}

#[test]
fn a_deployment_that_takes_too_long_fails_at_its_deadline() {
    let mut world = World::shop();
    world.rules("staging", &json!({"deployment": {"deadline": "5m"}}));
    world.promote("p", &dev_to_staging());
    let rest = world.settle("p").unwrap();
    world.now = rest.wake.unwrap();
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Failed);
    assert_eq!(world.has("staging"), "v1.1.0", "Hold: the release stays");
}

fn failing(rules: &serde_json::Value) -> World {
    let mut world = World::shop();
    world.rules("staging", rules);
    world.configure("staging", &json!({"flags": [{"name": "BETA", "enabled": false}]}));
    world.deployed("staging");
    world.configure("dev", &json!({"flags": [{"name": "BETA", "enabled": true}]}));
    world.promote("p", &json!({"target": "staging", "source": {"environment": "dev"}, "config": {"flags": ["BETA"]}}));
    world.settle("p");
    world.report("staging", world.newest("staging").spec.revision, "Failed");
    world.settle("p");
    world
}

#[test]
fn a_failed_deployment_is_rolled_back_with_its_configuration_once_and_vetoed() {
    let mut world = failing(&json!({"deployment": {"onFailure": "Rollback"}}));
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Failed, "v1.0.0"));
    let record = world.newest("staging").spec.clone();
    assert_eq!((record.cause, record.restores), (Cause::RolledBack, Some(number(2))));
    assert!(!record.config.flags[0].enabled, "the configuration came back as well");
    assert_eq!(world.status("p").rolled_back_by, Some(record.revision));
    assert_eq!(world.history("staging").vetoes()[0].version.name, "v1.1.0");
    world.wait(1);
    world.report("staging", record.revision, "Failed");
    world.settle_all();
    assert_eq!(
        world.newest("staging").spec.revision,
        record.revision,
        "what answers a failure is never answered itself"
    );
}

#[test]
fn a_vetoed_version_comes_back_only_if_somebody_says_so_or_a_newer_one_was_released() {
    let mut world = failing(&json!({"deployment": {"onFailure": "Rollback"}}));
    world.deployed("staging");
    world.promote("again", &dev_to_staging());
    world.settle("again");
    assert_eq!(
        (world.phase("again"), world.gate("again", "veto").state),
        (PromotionPhase::Rejected, GateState::Failed)
    );
    world.promote("lifted", &json!({"target": "staging", "source": {"version": "v1.1.0"}, "liftVeto": true}));
    world.settle("lifted");
    assert_eq!(world.has("staging"), "v1.1.0");
    assert!(world.history("staging").vetoes().is_empty());

    let mut world = failing(&json!({"deployment": {"onFailure": "Rollback"}}));
    world.deployed("staging");
    world.promote("newer", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("newer");
    assert!(world.history("staging").vetoes().is_empty(), "a newer version was released");
}

#[test]
fn what_people_rolled_back_does_not_come_back_as_an_answer() {
    // Found by the model (tests/model): after a rollback that failed, the newest good revision is what it took back.
    let mut world = World::shop();
    world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}));
    world.promote("p", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("p");
    world.deployed("staging");
    world.settle("p");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}, "reason": "v2.0.0 loses orders"}));
    world.settle("back");
    world.report("staging", number(3), "Failed");
    world.settle("back");
    world.promote("q", &json!({"target": "staging", "source": {"version": "v1.1.0"}}));
    world.settle("q");
    world.report("staging", number(4), "Failed");
    world.settle("q");
    let record = &world.newest("staging").spec;
    assert_eq!((record.restores, world.has("staging")), (Some(number(1)), "v1.0.0"));
}

#[test]
fn what_people_rolled_back_does_not_come_back_because_the_version_that_failed_was_newer() {
    let mut world = World::shop();
    world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}));
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.deployed("staging");
    world.settle("p");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}, "reason": "v1.1.0 loses orders"}));
    world.settle("back");
    world.report("staging", number(3), "Failed");
    world.settle("back");
    world.promote("q", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("q");
    assert!(world.history("staging").vetoes().is_empty(), "a newer version was released");
    world.report("staging", number(4), "Failed");
    world.settle("q");
    let record = &world.newest("staging").spec;
    assert_eq!((record.restores, world.has("staging")), (Some(number(1)), "v1.0.0"));
}

#[test]
fn with_nothing_to_go_back_to_a_failure_says_so() {
    let mut world = World::shop();
    for revision in world.revisions.values_mut() {
        revision.status = None;
    }
    world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}));
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.report("staging", number(2), "Failed");
    world.settle("p");
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Failed, "v1.1.0"));
    let ready = &world.status("p").conditions[0];
    assert!(ready.r#type == READY && ready.message.contains("nothing to roll back to"), "{}", ready.message);
}

#[test]
fn what_is_overtaken_before_it_was_deployed_is_superseded() {
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}, "emergency": true}));
    world.settle_all();
    assert_eq!(world.phase("p"), PromotionPhase::Superseded);
}

#[test]
fn an_edit_of_the_configuration_on_the_way_changes_nothing_about_the_promotion() {
    let mut world = World::shop();
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.configure("staging", &json!({"flags": [{"name": "NEW", "enabled": true}]}));
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::ReadyForDeploy);
    world.deployed("staging");
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Succeeded, "the report for revision 3 is for this version too");
}

#[test]
fn a_name_that_moved_something_before_never_does_again() {
    let mut world = World::shop();
    world.promote("release", &dev_to_staging());
    world.settle("release");
    world.deployed("staging");
    world.settle("release");
    world.promotions.remove("release");
    world.release("dev", "v2.0.0");
    world.promote_as("release", "u-of-another-life", &dev_to_staging());
    world.settle("release");
    assert_eq!((world.phase("release"), world.has("staging")), (PromotionPhase::Succeeded, "v1.1.0"));
    assert_eq!(world.status("release").revision, Some(number(2)));
}

#[test]
fn a_promotion_that_git_put_back_on_its_way_is_followed_to_its_end() {
    let mut world = World::shop();
    world.promote("release", &dev_to_staging());
    world.settle("release");
    world.promotions.remove("release");
    world.promote_as("release", "u-of-another-life", &dev_to_staging());
    world.wait(1);
    world.promote("next", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle_all();
    assert_eq!((world.phase("release"), world.has("staging")), (PromotionPhase::ReadyForDeploy, "v1.1.0"));
    world.deployed("staging");
    world.settle_all();
    assert_eq!((world.phase("release"), world.has("staging")), (PromotionPhase::Succeeded, "v2.0.0"));
}

#[test]
fn a_new_sync_of_what_was_healthy_has_a_deadline_of_its_own() {
    let mut world = World::shop();
    let rules = json!({"deployment": {"deadline": "5m", "soak": "2h", "onFailure": "Rollback"}});
    world.rules("staging", &rules);
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.deployed("staging");
    world.wait(30);
    world.report("staging", number(2), "InProgress");
    world.settle("p");
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::ReadyForDeploy, "v1.1.0"));
    world.wait(6);
    world.settle("p");
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Failed, "v1.0.0"));
}

/// A promotion under these rules has ended so, and its planner reports this a day later.
fn ended_and_reported(deployment: &serde_json::Value, end: PromotionPhase, later: &[&str]) -> World {
    let mut world = World::shop();
    world.rules("staging", &json!({"deployment": deployment}));
    world.promote("p", &dev_to_staging());
    world.settle("p");
    world.report("staging", number(2), if end == PromotionPhase::Failed { "Failed" } else { "Succeeded" });
    world.settle("p");
    world.wait(60);
    world.settle("p");
    assert_eq!(world.phase("p"), end);
    world.wait(60 * 24);
    for state in later {
        world.report("staging", number(2), state);
        world.settle_all();
        world.wait(1);
    }
    assert_eq!((world.phase("p"), world.has("staging")), (end, "v1.1.0"), "an end is final");
    world
}

#[test]
fn what_succeeded_is_not_rolled_back_when_git_puts_its_promotion_back_or_its_status_is_lost() {
    for soak in ["0s", "10m"] {
        for later in [&["Failed"][..], &["InProgress"], &["InProgress", "Failed"]] {
            let rules = json!({"soak": soak, "onFailure": "Rollback"});
            let mut world = ended_and_reported(&rules, PromotionPhase::Succeeded, later);
            world.promotions.get_mut("p").unwrap().status = None;
            world.settle("p");
            assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Succeeded, "v1.1.0"), "{later:?}");
            world.promote_as("p", "u-of-another-life", &dev_to_staging());
            world.settle("p");
            assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Succeeded, "v1.1.0"), "{later:?}");
            assert_eq!(world.status("p").conditions[0].reason, "DoneBefore");
        }
    }
}

#[test]
fn what_failed_and_was_held_is_not_rolled_back_when_the_rules_change_and_its_promotion_comes_back() {
    let mut world = ended_and_reported(&json!({"onFailure": "Hold"}), PromotionPhase::Failed, &[]);
    world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}));
    // Whatever the planner reports since then: it had ended.
    for state in ["Failed", "InProgress", "Failed"] {
        world.report("staging", number(2), state);
        world.wait(1);
        world.promotions.get_mut("p").unwrap().status = None;
        world.settle("p");
        assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Failed, "v1.1.0"));
        assert_eq!(world.status("p").revision, Some(number(2)));
    }
    world.promote_as("p", "u-of-another-life", &dev_to_staging());
    world.settle("p");
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Succeeded, "v1.1.0"));
    assert_eq!(world.status("p").conditions[0].reason, "DoneBefore");
}

#[test]
fn one_that_git_put_back_tells_of_a_failure_that_it_has_seen_coming_and_does_not_answer_it() {
    let mut world = World::shop();
    world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}));
    world.promote("release", &dev_to_staging());
    world.settle("release");
    world.promote_as("release", "u-of-another-life", &dev_to_staging());
    world.settle("release");
    assert_eq!(world.phase("release"), PromotionPhase::ReadyForDeploy);
    world.report("staging", number(2), "Failed");
    world.settle("release");
    assert_eq!((world.phase("release"), world.has("staging")), (PromotionPhase::Failed, "v1.1.0"));
}

#[test]
fn a_dry_run_moves_nothing_although_a_promotion_of_its_name_did() {
    let mut world = World::shop();
    world.rules("staging", &json!({"deployment": {"onFailure": "Rollback"}}));
    world.promote("p", &dev_to_staging());
    world.settle("p");
    let mut spec = dev_to_staging();
    (spec["dryRun"], spec["ttlAfterFinished"]) = (json!(true), json!("10m"));
    world.promote_as("p", "u-of-another-life", &spec);
    world.report("staging", number(2), "Failed");
    world.settle("p");
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::DryRun, "v1.1.0"));
    let message = &world.status("p").conditions[0].message;
    assert!(message.contains("would not move") && message.contains("revision 2"), "{message}");
    world.wait(10);
    assert!(world.settle("p").is_none(), "and it goes when its time is over");
}

/// The planner reports the newest revision of staging, and the environment does not write it down.
fn reported_in_vain(world: &mut World, state: &str) {
    let revision = world.newest("staging").spec.revision;
    let report = json!({"revision": revision, "state": state, "reportedBy": "argocd", "at": world.now});
    world.env("staging").status.as_mut().unwrap().deployment = Some(serde_json::from_value(report).unwrap());
}

#[test]
fn past_its_deadline_it_waits_for_the_report_to_be_written_down_and_does_not_look_again_and_again() {
    for state in ["Succeeded", "Failed"] {
        for published in [true, false] {
            let mut world = World::shop();
            world.rules("staging", &json!({"deployment": {"deadline": "5m"}}));
            world.promote("p", &dev_to_staging());
            let rest = world.settle("p").unwrap();
            reported_in_vain(&mut world, state);
            if !published {
                world.env("staging").status.as_mut().unwrap().release = None;
            }
            world.now = rest.wake.unwrap();
            let rest = world.settle("p").unwrap();
            assert_eq!((world.phase("p"), rest.wake), (PromotionPhase::ReadyForDeploy, None), "the write wakes it");
            let waiting_for = world.status("p").waiting_for.clone().unwrap();
            assert!(waiting_for.contains("written down"), "{waiting_for}");
            world.report("staging", number(2), state);
            world.settle("p");
            let end = if state == "Failed" { PromotionPhase::Failed } else { PromotionPhase::Succeeded };
            assert_eq!(world.phase("p"), end);
        }
    }
}

#[test]
fn in_a_target_that_is_being_deleted_it_waits_for_that_and_rolls_nothing_back() {
    for state in [None, Some("Succeeded"), Some("Failed")] {
        let mut world = World::shop();
        world.rules("staging", &json!({"deployment": {"deadline": "5m", "onFailure": "Rollback"}}));
        world.promote("p", &dev_to_staging());
        let rest = world.settle("p").unwrap();
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now);
        world.env("staging").metadata.deletion_timestamp = Some(now);
        if let Some(state) = state {
            reported_in_vain(&mut world, state);
        }
        world.now = rest.wake.unwrap();
        let rest = world.settle("p").unwrap();
        assert_eq!((world.phase("p"), rest.wake), (PromotionPhase::ReadyForDeploy, None), "{state:?}");
        let waiting_for = world.status("p").waiting_for.clone().unwrap();
        assert!(waiting_for.contains("staging is being deleted"), "{waiting_for}");
        assert_eq!(world.has("staging"), "v1.1.0");
        world.environments.remove("staging");
        world.settle("p");
        assert_eq!(world.status("p").conditions[0].reason, "RevisionGone");
    }
}
