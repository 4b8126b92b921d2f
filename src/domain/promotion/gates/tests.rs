//! Each gate in turn: what holds it, and what frees it.

use serde_json::json;

use crate::{
    api::{GateState, PromotionPhase},
    domain::promotion::world::World,
};

/// v1.1.0, which dev has, to staging.
fn to_staging(world: &mut World) {
    world.promote("p", &json!({"target": "staging", "source": {"environment": "dev"}}));
    world.settle("p");
}

#[test]
fn only_named_sources_may_come_in() {
    let mut world = World::shop();
    world.rules("production", &json!({"from": ["staging"]}));
    world.promote("p", &json!({"target": "production", "source": {"environment": "dev"}}));
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Rejected);
    assert!(world.gate("p", "from").message.contains("promote it there first"));
}

#[test]
fn a_version_by_name_must_be_where_it_may_come_from() {
    let mut world = World::shop();
    world.rules("production", &json!({"from": ["staging"]}));
    world.promote("p", &json!({"target": "production", "source": {"version": "v1.1.0"}}));
    world.settle("p");
    assert_eq!(
        (world.phase("p"), world.gate("p", "from").reason.as_str()),
        (PromotionPhase::Evaluating, "NotInSource")
    );
    world.release("staging", "v1.1.0");
    world.settle("p");
    assert_eq!(world.has("production"), "v1.1.0");
}

#[test]
fn a_soak_time_passes_at_its_exact_end_and_wakes_by_itself() {
    // Kargo #4586: the end of a soak time woke nobody.
    let mut world = World::shop();
    world.rules("staging", &json!({"requires": [{"environment": "dev", "soak": "1h"}]}));
    to_staging(&mut world);
    let gate = world.gate("p", "requires/dev").clone();
    assert_eq!((gate.state, gate.reason.as_str()), (GateState::Pending, "Soaking"));
    let rest = world.settle("p").unwrap();
    assert_eq!(rest.wake, gate.until, "exactly then");
    world.now = gate.until.unwrap();
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
    let evidence = world.newest("staging").spec.gates.iter().find(|gate| gate.name == "requires/dev").unwrap().clone();
    assert_eq!(evidence.evidence.unwrap().revision.unwrap().environment, "dev");
}

#[test]
fn a_soak_in_another_environment_than_the_required_one_counts_for_nothing() {
    // Kargo #4586: soak time in unrelated stages satisfied the gate.
    let mut world = World::shop();
    world.rules("production", &json!({"requires": [{"environment": "staging", "soak": "1h"}]}));
    world.promote("p", &json!({"target": "production", "source": {"environment": "dev"}}));
    world.wait(600);
    world.settle("p");
    assert_eq!(world.gate("p", "requires/staging").reason, "NotThereYet");
    assert_eq!(world.has("production"), "v1.0.0");
}

#[test]
fn a_release_that_was_never_reported_as_deployed_has_not_soaked() {
    let mut world = World::shop();
    world.rules("production", &json!({"requires": [{"environment": "staging"}]}));
    world.release("staging", "v1.1.0");
    world.promote("p", &json!({"target": "production", "source": {"environment": "staging"}}));
    world.wait(600);
    world.settle("p");
    assert_eq!(world.gate("p", "requires/staging").reason, "NotDeployedYet");
    world.deployed("staging");
    world.settle("p");
    assert_eq!(world.has("production"), "v1.1.0");
}

#[test]
fn health_that_broke_before_the_soak_time_was_over_does_not_add_up() {
    let mut world = World::shop();
    world.rules("staging", &json!({"requires": [{"environment": "dev", "soak": "1h"}]}));
    world.wait(30);
    world.report("dev", world.newest("dev").spec.revision, "Failed");
    world.wait(10);
    world.report("dev", world.newest("dev").spec.revision, "Succeeded");
    world.wait(40);
    to_staging(&mut world);
    assert_eq!(world.gate("p", "requires/dev").reason, "Soaking", "40 minutes since the repair, 30 before it");
}

#[test]
fn what_was_healthy_long_enough_before_it_was_replaced_counts() {
    let mut world = World::shop();
    world.rules("staging", &json!({"requires": [{"environment": "dev", "soak": "1h"}]}));
    world.wait(90);
    world.release("dev", "v2.0.0");
    world.promote("p", &json!({"target": "staging", "source": {"version": "v1.1.0"}}));
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
}

#[test]
fn environments_that_require_each_other_say_so() {
    let mut world = World::shop();
    world.rules("staging", &json!({"requires": [{"environment": "production"}]}));
    world.rules("production", &json!({"requires": [{"environment": "staging"}]}));
    to_staging(&mut world);
    let gate = world.gate("p", "requires/production");
    assert_eq!((gate.state, gate.reason.as_str()), (GateState::Pending, "CircularRequirement"));
}

#[test]
fn a_longer_circle_is_named_too() {
    let mut world = World::shop();
    for (name, required) in [("staging", "dev"), ("dev", "production"), ("production", "staging")] {
        world.rules(name, &json!({"requires": [{"environment": required}]}));
    }
    world.promote("p", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("p");
    let gate = world.gate("p", "requires/dev");
    assert_eq!(gate.reason, "CircularRequirement");
    assert!(
        gate.message.contains("staging requires dev, which requires production, which requires staging again"),
        "{}",
        gate.message
    );
}

#[test]
fn an_environment_that_requires_itself_lets_nothing_in_and_says_why() {
    let mut world = World::shop();
    world.rules("staging", &json!({"requires": [{"environment": "staging"}]}));
    to_staging(&mut world);
    assert_eq!(world.gate("p", "requires/staging").reason, "RequiresItself");
}

#[test]
fn a_version_that_was_rolled_back_upstream_does_not_go_on() {
    let mut world = World::shop();
    world.rules("production", &json!({"requires": [{"environment": "staging"}]}));
    to_staging(&mut world);
    world.deployed("staging");
    world.settle_all();
    world.promote("back", &json!({"target": "staging", "source": {"revision": 1}}));
    world.settle_all();
    world.promote("q", &json!({"target": "production", "source": {"version": "v1.1.0"}}));
    world.settle("q");
    assert_eq!(world.gate("q", "requires/staging").reason, "RolledBackThere");
}

#[test]
fn a_validation_is_waited_for_and_bound_to_the_digest() {
    let mut world = World::shop();
    world.rules("staging", &json!({"validations": ["schema", "e2e"]}));
    to_staging(&mut world);
    assert_eq!(world.gate("p", "validation/schema").reason, "NoResult");
    world.validated("v1.1.0", "schema", "Passed");
    world.validated("v1.1.0", "e2e", "Passed");
    world.version("v1.1.0").status.as_mut().unwrap().validations[1].digest = crate::api::Digest::of(b"other");
    world.settle("p");
    assert_eq!(world.gate("p", "validation/schema").state, GateState::Passed);
    assert_eq!(world.gate("p", "validation/e2e").reason, "OtherDigest");
    world.validated("v1.1.0", "e2e", "Passed");
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
}

#[test]
fn a_failed_validation_rejects_and_hides_no_other_gate() {
    let mut world = World::shop();
    world.rules("staging", &json!({"validations": ["schema"], "versions": "^2.0"}));
    world.validated("v1.1.0", "schema", "Failed");
    to_staging(&mut world);
    assert_eq!(world.phase("p"), PromotionPhase::Rejected);
    assert_eq!(world.gate("p", "validation/schema").state, GateState::Failed);
    assert_eq!(world.gate("p", "versions").state, GateState::Failed, "one failure hides no other");
}

#[test]
fn only_versions_within_the_range_come_in_and_pre_releases_as_semver_says() {
    let mut world = World::shop();
    world.publish("v1.2.0-rc.1", &json!({"flows": ["Checkout"]}));
    world.rules("staging", &json!({"versions": ">=1.0.0, <3.0.0"}));
    for (name, version, phase) in
        [("rc", "v1.2.0-rc.1", PromotionPhase::Rejected), ("two", "v2.0.0", PromotionPhase::ReadyForDeploy)]
    {
        world.promote(name, &json!({"target": "staging", "source": {"version": version}}));
        world.settle(name);
        assert_eq!(world.phase(name), phase, "{version}");
    }
}

#[test]
fn a_range_that_is_none_lets_nothing_in_and_names_the_field() {
    let mut world = World::shop();
    world.rules("staging", &json!({"versions": "latest-ish"}));
    to_staging(&mut world);
    let gate = world.gate("p", "versions");
    assert_eq!((gate.state, gate.reason.as_str()), (GateState::Pending, "InvalidRule"));
    assert!(
        gate.message.contains("spec.promotion.versions") && gate.message.contains("latest-ish"),
        "{}",
        gate.message
    );
}

#[test]
fn an_older_version_is_no_promotion() {
    let mut world = World::shop();
    world.release("production", "v2.0.0");
    world.promote("p", &json!({"target": "production", "source": {"version": "v1.0.0"}}));
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Rejected);
    let gate = world.gate("p", "upgrade");
    assert!(gate.message.contains("roll back to revision 1"), "{}", gate.message);
}

#[test]
fn what_the_version_requires_must_be_there_afterwards() {
    let mut world = World::shop();
    let requires = json!({"variables": ["BASE_URL"], "flags": ["BETA"], "secrets": ["API_KEY"]});
    world.version("v1.1.0").spec.requires = Some(serde_json::from_value(requires).unwrap());
    to_staging(&mut world);
    let gate = world.gate("p", "completeness");
    assert_eq!(gate.state, GateState::Pending);
    assert!(gate.message.contains("variable BASE_URL, flag BETA, secret API_KEY"), "{}", gate.message);
    world.configure(
        "staging",
        &json!({
            "variables": [{"name": "BASE_URL", "value": "https://x"}, {"name": "API_KEY", "value": "plain"}],
            "flags": [{"name": "BETA", "enabled": false}],
        }),
    );
    world.settle("p");
    assert!(world.gate("p", "completeness").message.contains("secret API_KEY"), "a plain value is no secret");
    world.configure("staging", &json!({
        "variables": [{"name": "BASE_URL", "value": "https://x"}, {"name": "API_KEY", "vault": {"path": "payments", "key": "k"}}],
        "flags": [{"name": "BETA", "enabled": false}],
    }));
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
}

#[test]
fn a_required_secret_without_a_value_in_vault_is_waited_for() {
    let mut world = World::shop();
    let requires = json!({"secrets": ["API_KEY"]});
    world.version("v1.1.0").spec.requires = Some(serde_json::from_value(requires).unwrap());
    world.configure("staging", &json!({"variables": [{"name": "API_KEY", "vault": {"path": "payments", "key": "k"}}]}));
    let secret = |state: &str| {
        let path = "pf/p/staging-1/payments";
        vec![serde_json::from_value(json!({"name": "API_KEY", "path": path, "key": "k", "state": state})).unwrap()]
    };
    let place = json!({"mount": "kv", "prefix": "pf/p/staging-1", "role": "pf-p--staging-1"});
    let status = world.environments.get_mut("staging").unwrap().status.get_or_insert_default();
    (status.vault, status.secrets) = (Some(serde_json::from_value(place).unwrap()), secret("Missing"));
    to_staging(&mut world);
    let gate = world.gate("p", "completeness");
    assert_eq!(gate.state, GateState::Pending);
    assert!(gate.message.contains("no value in staging's place in Vault: API_KEY"), "{}", gate.message);
    world.environments.get_mut("staging").unwrap().status.get_or_insert_default().secrets = secret("Ready");
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
}

#[test]
fn a_secret_of_a_vault_that_was_given_up_is_waited_for_by_nobody() {
    let mut world = World::shop();
    let requires = json!({"secrets": ["API_KEY"]});
    world.version("v1.1.0").spec.requires = Some(serde_json::from_value(requires).unwrap());
    world.configure("staging", &json!({"variables": [{"name": "API_KEY", "vault": {"path": "payments", "key": "k"}}]}));
    let lost = json!({"name": "API_KEY", "path": "pf/p/staging-1/payments", "key": "k", "state": "Lost"});
    let status = world.environments.get_mut("staging").unwrap().status.get_or_insert_default();
    status.secrets = vec![serde_json::from_value(lost).unwrap()];
    to_staging(&mut world);
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
}

#[test]
fn a_degraded_source_is_waited_for() {
    let mut world = World::shop();
    world.report("dev", world.newest("dev").spec.revision, "Failed");
    to_staging(&mut world);
    assert_eq!(world.gate("p", "upstreamHealth").state, GateState::Pending);
    world.wait(1);
    world.report("dev", world.newest("dev").spec.revision, "Succeeded");
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
}

#[test]
fn people_confirm_exactly_one_plan_and_a_changed_plan_voids_their_yes() {
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 2}}));
    to_staging(&mut world);
    assert_eq!(world.phase("p"), PromotionPhase::AwaitingConfirmation);
    world.confirm("p", "ben");
    world.settle("p");
    assert!(world.gate("p", "confirmations").message.starts_with("1 of 2"));
    world.release("dev", "v2.0.0");
    world.settle("p");
    let message = &world.gate("p", "confirmations").message;
    assert!(message.contains("changed since ben confirmed it"), "{message}");
    world.confirm("p", "ben");
    world.confirm("p", "cem");
    world.settle("p");
    assert_eq!(world.has("staging"), "v2.0.0");
    let users: Vec<&str> = world.newest("staging").spec.confirmations.iter().map(|yes| yes.user.as_str()).collect();
    assert_eq!(users, ["ben", "cem"], "only those of the plan that was carried out");
}

#[test]
fn the_author_does_not_count_and_neither_does_a_second_yes() {
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 2}}));
    to_staging(&mut world);
    for user in ["ana", "ben", "ben"] {
        world.confirm("p", user);
    }
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::AwaitingConfirmation);
    let message = &world.gate("p", "confirmations").message;
    assert!(message.starts_with("1 of 2") && message.contains("ana created the promotion"), "{message}");
}

#[test]
fn without_a_known_author_nobody_can_confirm() {
    let mut world = World::shop();
    world.rules("staging", &json!({"confirmations": {"required": 1}}));
    to_staging(&mut world);
    world.promotions.get_mut("p").unwrap().metadata.annotations = None;
    world.confirm("p", "ben");
    world.settle("p");
    assert_eq!(world.gate("p", "confirmations").reason, "AuthorUnknown");
}

#[test]
fn a_gate_s_time_moves_only_with_its_outcome() {
    let mut world = World::shop();
    world.rules("staging", &json!({"validations": ["schema"]}));
    to_staging(&mut world);
    let before = world.gate("p", "validation/schema").evaluated_at;
    world.wait(5);
    world.settle("p");
    assert_eq!(world.gate("p", "validation/schema").evaluated_at, before);
    world.validated("v1.1.0", "schema", "Running");
    world.settle("p");
    assert!(world.gate("p", "validation/schema").evaluated_at > before);
}

#[test]
fn promotions_wait_for_each_other_in_the_order_of_their_creation_whatever_their_names() {
    // Kargo #6214: order was that of names, and leftover names broke it.
    let mut world = World::shop();
    world.promote("zz", &json!({"target": "staging", "source": {"version": "v1.1.0"}}));
    world.wait(1);
    world.promote("aa", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle("aa");
    assert_eq!(world.status("aa").queue_position, Some(1));
    world.settle_all();
    assert_eq!((world.has("staging"), world.phase("aa")), ("v1.1.0", PromotionPhase::Evaluating), "zz is on its way");
    world.deployed("staging");
    world.settle_all();
    assert_eq!((world.phase("zz"), world.has("staging")), (PromotionPhase::Succeeded, "v2.0.0"));
}

#[test]
fn a_newer_promotion_supersedes_those_that_have_not_moved() {
    let mut world = World::shop();
    world.rules("staging", &json!({"queue": "Supersede", "confirmations": {"required": 1}}));
    to_staging(&mut world);
    world.wait(1);
    world.promote("q", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle_all();
    assert_eq!(world.phase("p"), PromotionPhase::Superseded);
    assert_eq!(world.phase("q"), PromotionPhase::AwaitingConfirmation);
}

/// The operator asks for this version by itself.
fn by_itself(world: &mut World, version: &str) -> String {
    let name = format!("staging-auto-{version}");
    world.promote(&name, &json!({"target": "staging", "source": {"version": version}}));
    let annotations = world.promotions.get_mut(&name).unwrap().metadata.annotations.as_mut().unwrap();
    annotations.insert("platform.puraify.app/auto".to_owned(), "true".to_owned());
    name
}

#[test]
fn who_brought_a_version_to_where_a_rule_takes_it_from_does_not_confirm_it() {
    let mut world = World::shop();
    world.rules("staging", &json!({"from": ["dev"], "confirmations": {"required": 1}}));
    world.promote("mine", &json!({"target": "dev", "source": {"version": "v2.0.0"}}));
    world.settle("mine");
    world.deployed("dev");
    let name = by_itself(&mut world, "v2.0.0");
    let annotations = world.promotions.get_mut(&name).unwrap().metadata.annotations.as_mut().unwrap();
    annotations.insert("platform.puraify.app/created-by".to_owned(), "environment-manager".to_owned());
    world.settle(&name);
    world.confirm(&name, "ana");
    world.settle(&name);
    assert_eq!(world.phase(&name), PromotionPhase::AwaitingConfirmation);
    assert!(world.gate(&name, "confirmations").message.contains("ana asked for this version"));
    world.confirm(&name, "ben");
    world.settle(&name);
    assert_eq!(world.has("staging"), "v2.0.0");
}

#[test]
fn of_two_that_were_made_by_themselves_the_newer_version_wins_whenever_it_was_made_and_whatever_the_queue_says() {
    for queue in ["Queue", "Supersede", "Reject"] {
        // Within one second the names decide, and by those v10 comes before v2.
        for minutes in [0, 1] {
            let mut world = World::shop();
            world.rules("staging", &json!({"queue": queue, "confirmations": {"required": 1}}));
            world.publish("v10.0.0", &json!({"flows": ["Checkout"]}));
            for version in ["v2.0.0", "v10.0.0"] {
                let name = by_itself(&mut world, version);
                world.settle(&name);
                world.wait(minutes);
            }
            world.settle_all();
            let phases = (world.phase("staging-auto-v2.0.0"), world.phase("staging-auto-v10.0.0"));
            let newest_waits = (PromotionPhase::Superseded, PromotionPhase::AwaitingConfirmation);
            assert_eq!(phases, newest_waits, "{queue}, {minutes} minutes apart");
        }
    }
}

#[test]
fn what_was_made_by_itself_waits_where_others_are_rejected_for_nobody_would_make_it_anew() {
    let mut world = World::shop();
    world.rules("staging", &json!({"queue": "Reject"}));
    to_staging(&mut world);
    world.settle("p");
    world.wait(1);
    let name = by_itself(&mut world, "v2.0.0");
    world.settle_all();
    assert_eq!(
        (world.phase(&name), world.gate(&name, "queue").reason.as_str()),
        (PromotionPhase::Evaluating, "InLine")
    );
    world.deployed("staging");
    world.settle_all();
    assert_eq!(world.has("staging"), "v2.0.0");
}

#[test]
fn a_second_promotion_is_rejected_where_the_queue_says_so() {
    let mut world = World::shop();
    world.rules("staging", &json!({"queue": "Reject", "confirmations": {"required": 1}}));
    to_staging(&mut world);
    world.wait(1);
    world.promote("q", &json!({"target": "staging", "source": {"version": "v2.0.0"}}));
    world.settle_all();
    assert_eq!(world.phase("p"), PromotionPhase::AwaitingConfirmation);
    assert_eq!((world.phase("q"), world.gate("q", "queue").reason.as_str()), (PromotionPhase::Rejected, "Occupied"));
}

#[test]
fn what_an_environment_has_is_not_guessed_from_older_revisions_when_its_newest_cannot_be_read() {
    let rules = [
        (json!({"requires": [{"environment": "staging"}]}), "requires/staging"),
        (json!({"from": ["staging"]}), "from"),
    ];
    for (rules, gate) in rules {
        let mut world = World::shop();
        world.release("staging", "v1.1.0");
        world.deployed("staging");
        world.rules("production", &rules);
        world.unreadable.insert("staging".to_owned(), "staging-3".to_owned());
        world.promote("p", &json!({"target": "production", "source": {"version": "v1.1.0"}}));
        world.settle("p");
        assert_eq!((world.phase("p"), world.has("production")), (PromotionPhase::Evaluating, "v1.0.0"), "{gate}");
        let found = world.gate("p", gate);
        assert_eq!((found.state, found.reason.as_str()), (GateState::Pending, "Unreadable"));
        assert!(found.message.contains("staging-3"), "{}", found.message);
        world.unreadable.clear();
        world.settle("p");
        assert_eq!(world.has("production"), "v1.1.0", "{gate}");
    }
}

#[test]
fn of_several_sources_one_that_can_be_read_is_enough() {
    let mut world = World::shop();
    world.rules("production", &json!({"from": ["staging", "dev"]}));
    world.unreadable.insert("staging".to_owned(), "staging-3".to_owned());
    world.promote("p", &json!({"target": "production", "source": {"version": "v1.1.0"}}));
    world.settle("p");
    assert_eq!(world.has("production"), "v1.1.0", "dev has it");
}

#[test]
fn from_a_source_whose_newest_revision_cannot_be_read_nothing_is_taken() {
    let mut world = World::shop();
    world.unreadable.insert("dev".to_owned(), "dev-2".to_owned());
    to_staging(&mut world);
    assert_eq!((world.phase("p"), world.has("staging")), (PromotionPhase::Pending, "v1.0.0"));
    let ready = &world.status("p").conditions[0];
    assert!(ready.reason == "Unreadable" && ready.message.contains("dev-2"), "{}", ready.message);
    world.unreadable.clear();
    world.settle("p");
    assert_eq!(world.has("staging"), "v1.1.0");
    // What has moved does not look at its source any more.
    world.unreadable.insert("dev".to_owned(), "dev-2".to_owned());
    world.deployed("staging");
    world.settle("p");
    assert_eq!(world.phase("p"), PromotionPhase::Succeeded);
}
