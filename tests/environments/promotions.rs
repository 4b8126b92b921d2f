//! Promotions as people see them: asked for with kubectl, waiting with a reason, moving once, deployed and reported on.

use environment_manager::{
    api::{Cause, GateState, Promotion as PromotionKind, PromotionPhase},
    domain::contract::{ReadyForDeploy, VersionRecord},
};
use serde_json::{Value, json};

use crate::support::{Cluster, Environment, Operator, Project, Promotion, eventually, kstatus};

/// dev and staging with v1.0.0, deployed; v1.1.0 is published.
fn shop(project: &Project) -> (Environment<'_>, Environment<'_>) {
    project.version("v1.0.0");
    project.version("v1.1.0");
    let dev = project.environment("dev").starting_with("v1.0.0").flag("BETA", true).ready();
    let staging = project.environment("staging").cloned_from("dev").ready();
    dev.deployed();
    staging.deployed();
    (dev, staging)
}

fn to(target: &str, version: &str) -> Value {
    json!({"target": target, "source": {"version": version}})
}

#[test]
fn a_version_moves_is_deployed_and_each_step_can_be_read() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    let spec = json!({"target": "staging", "source": {"version": "v1.1.0"}, "reason": "September release"});
    let promotion = project.promote("september", &spec);
    let status = promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    assert_eq!(status.revision.unwrap().get(), 2);
    assert_eq!(staging.release()["version"], "v1.1.0", "applications can read it");
    let live: PromotionKind = serde_json::from_value(promotion.get().unwrap()).unwrap();
    assert_eq!(
        json!(ReadyForDeploy::of(&live)),
        json!({"status": "ready_for_deploy", "version": "v1.1.0", "environment": "staging",
               "diff_from_previous": {"entities_changed": 2, "flows_changed": 1}})
    );
    let columns = project.kubectl(&["get", "promo", "september"]);
    assert!(
        columns.contains("WAITS FOR") && columns.contains("Deployment Planner's report of revision 2"),
        "{columns}"
    );

    staging.report(2, "InProgress", "2026-01-02T00:00:00Z");
    staging.report(2, "Succeeded", "2026-01-02T00:00:01Z");
    promotion.wait_phase(PromotionPhase::Succeeded);
    assert_eq!(kstatus::of(&promotion.get().unwrap()), kstatus::Kstatus::Current);

    let history = staging.history();
    let record = history.last().unwrap();
    assert_eq!(
        (record.cause, record.actor.as_str(), record.reason.as_deref()),
        (Cause::Promoted, "ana", Some("September release"))
    );
    assert!(record.gates.iter().any(|gate| gate.name == "upgrade" && gate.state == GateState::Passed));
    assert_eq!(json!(VersionRecord::from(record))["changes"], json!({"updated_entities": 2, "updated_flows": 1}));
    staging.verify_history().unwrap();
    staging.wait_event("Promoted", &["Revision 2", "v1.1.0"]);
}

#[test]
fn each_gate_in_turn_holds_it_says_why_and_lets_it_go() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    project.version_with("v1.2.0", &json!({"requires": {"variables": ["BASE_URL"], "secrets": ["API_KEY"]}}));
    let production = project
        .environment("production")
        .starting_with("v1.0.0")
        .with(
            "promotion",
            json!({
                "from": ["staging"], "requires": [{"environment": "staging", "soak": "2s"}], "validations": ["e2e"],
                "versions": ">=1.0.0, <2.0.0", "confirmations": {"required": 1}, "configChanges": "Immediate",
            }),
        )
        .ready();
    production.deployed();
    let promotion = project.promote("p", &json!({"target": "production", "source": {"environment": "staging"}}));
    promotion.wait_for("nothing new yet", |status| status.phase == Some(PromotionPhase::Succeeded));

    let promotion = project.promote("q", &to("production", "v1.2.0"));
    promotion.wait_gate("from", "NotInSource");
    assert_eq!(promotion.gate("requires/staging").reason, "NotThereYet");
    assert_eq!(promotion.gate("validation/e2e").reason, "NoResult");
    assert_eq!(promotion.gate("completeness").reason, "Incomplete");
    assert_eq!(promotion.gate("versions").state, GateState::Passed);
    assert_eq!(promotion.status().phase, Some(PromotionPhase::Evaluating));

    staging.edit_and_wait(&json!({"config": {"variables": [
        {"name": "BASE_URL", "value": "https://staging"}, {"name": "API_KEY", "vault": {"path": "payments", "key": "k"}}]}}));
    project.promote("first", &to("staging", "v1.2.0")).wait_phase(PromotionPhase::ReadyForDeploy);
    promotion.wait_gate("from", "SourceAllowed");
    promotion.wait_gate("requires/staging", "NotDeployedYet");
    staging.deployed();
    let soaking = promotion.wait_gate("requires/staging", "Soaking");
    assert!(soaking.until.is_some(), "time alone ends it, and it says when");
    promotion.wait_gate("requires/staging", "Soaked");
    project.validate("v1.2.0", "e2e", "Passed");
    promotion.wait_gate("validation/e2e", "Validated");
    production.edit_and_wait(&json!({"config": {"variables": [
        {"name": "BASE_URL", "value": "https://shop"}, {"name": "API_KEY", "vault": {"path": "payments", "key": "k"}}]}}));
    promotion.wait_gate("completeness", "Complete");
    promotion.wait_phase(PromotionPhase::AwaitingConfirmation);
    let refusal = promotion.try_confirm("ana").unwrap_err().to_string();
    assert!(refusal.contains("ana created this promotion; somebody else has to confirm it"), "{refusal}");
    promotion.confirm("ben");
    promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    let record = production.history().pop().unwrap();
    assert_eq!(record.confirmations.iter().map(|yes| yes.user.as_str()).collect::<Vec<_>>(), ["ben"]);
    let soaked = record.gates.iter().find(|gate| gate.name == "requires/staging").unwrap();
    assert_eq!(soaked.evidence.as_ref().unwrap().revision.as_ref().unwrap().environment, "staging");
}

#[test]
fn a_rollback_brings_configuration_back_and_says_what_diverges() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    staging.edit_and_wait(&json!({"config": {"flags": [{"name": "BETA", "enabled": false}]}}));
    project.promote("up", &to("staging", "v1.1.0")).wait_phase(PromotionPhase::ReadyForDeploy);
    staging.deployed();
    let back = json!({"target": "staging", "source": {"revision": 1}, "reason": "the old one was better"});
    let promotion = project.promote("back", &back);
    promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    assert_eq!(
        (staging.version(), &staging.flags()["flags"]["BETA"]["defaultVariant"]),
        ("v1.0.0".to_owned(), &json!("on"))
    );
    assert_eq!(promotion.gate("upgrade").state, GateState::Waived);
    let live = staging.wait_for("what diverges", |object| object["status"]["diverged"].is_array());
    assert_eq!(live["status"]["diverged"], json!([{"kind": "Flag", "name": "BETA", "revision": 4}]));
    assert_eq!(live["status"]["vetoes"][0]["version"]["name"], "v1.1.0");
    let again = project.promote("again", &to("staging", "v1.1.0"));
    staging.deployed();
    again.wait_phase(PromotionPhase::Rejected);
    assert!(again.message().contains("liftVeto"), "{}", again.message());
    // An unrelated edit does not undo the rollback.
    staging.edit_and_wait(
        &json!({"config": {"flags": [{"name": "BETA", "enabled": false}, {"name": "NEW", "enabled": true}]}}),
    );
    assert_eq!(staging.flags()["flags"]["BETA"]["defaultVariant"], "on");
}

#[test]
fn a_failed_deployment_is_rolled_back_once() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    staging.edit_and_wait(&json!({"promotion": {"deployment": {"onFailure": "Rollback"}}}));
    let promotion = project.promote("p", &to("staging", "v1.1.0"));
    promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    staging.report(2, "Failed", "2026-01-02T00:00:00Z");
    let status = promotion.wait_phase(PromotionPhase::Failed);
    assert_eq!(status.rolled_back_by.unwrap().get(), 3);
    staging.wait_for("the old version", |object| object["status"]["release"]["version"] == "v1.0.0");
    staging.report(3, "Failed", "2026-01-02T00:00:01Z");
    staging.wait_for("the second report", |object| object["status"]["release"]["state"] == "Failed");
    assert_eq!(staging.history().len(), 3, "never in a loop");
}

#[test]
fn a_deployment_that_nobody_reports_fails_at_its_deadline() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    staging.edit_and_wait(&json!({"promotion": {"deployment": {"deadline": "2s"}}}));
    let promotion = project.promote("p", &to("staging", "v1.1.0"));
    promotion.wait_phase(PromotionPhase::Failed);
    assert!(promotion.message().contains("Nobody reported revision 2"), "{}", promotion.message());
}

#[test]
fn a_dry_run_writes_its_own_status_and_nothing_else() {
    let project = Project::new("shop");
    shop(&project);
    eventually("rest", || {
        let before = project.operator_writes().len();
        project.kubectl(&["get", "penv"]);
        (project.operator_writes().len() == before).then_some(())
    });
    let before = project.operator_writes().len();
    let promotion =
        project.promote("p", &json!({"target": "staging", "source": {"version": "v1.1.0"}, "dryRun": true}));
    let status = promotion.wait_phase(PromotionPhase::DryRun);
    assert!(status.plan.is_some() && promotion.message().contains("It would move at once"), "{}", promotion.message());
    let writes: Vec<String> = project.operator_writes()[before..].iter().map(|write| write.resource.clone()).collect();
    assert_eq!(
        writes.iter().filter(|resource| *resource != "platformversions/status").collect::<Vec<_>>(),
        ["promotions/status"]
    );
}

#[test]
fn one_promotion_writes_each_thing_once() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    let before = project.operator_writes().len();
    project.promote("p", &to("staging", "v1.1.0")).wait_phase(PromotionPhase::ReadyForDeploy);
    assert_eq!(staging.version(), "v1.1.0");
    let mut writes: Vec<String> = project.operator_writes()[before..]
        .iter()
        .filter(|write| write.resource != "platformversions/status")
        .map(|write| format!("{} {}", write.verb, write.resource))
        .collect();
    writes.sort();
    assert_eq!(
        writes,
        [
            "create environmentrevisions",
            "patch configmaps",
            "patch platformenvironments/status",
            "patch promotions/status",
            "patch promotions/status"
        ],
        "the plan shown, the revision, the pointer, the environment's and the promotion's status"
    );
}

#[test]
fn statuses_that_somebody_wiped_come_back_the_same() {
    let project = Project::new("shop").unguarded();
    let (_, staging) = shop(&project);
    let promotion = project.promote("p", &to("staging", "v1.1.0"));
    promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    let before = (promotion.status(), staging.live()["status"].clone());
    let wipe = |kind: &str, name: &str| {
        project.kubectl(&[
            "patch",
            kind,
            name,
            "--subresource",
            "status",
            "--type",
            "json",
            "--patch",
            r#"[{"op": "remove", "path": "/status"}]"#,
        ]);
    };
    wipe("promo", "p");
    wipe("penv", "staging");
    let after = promotion.wait_for("the status", |status| status.phase == before.0.phase && status.revision.is_some());
    assert_eq!((&after.plan, &after.gates, after.until), (&before.0.plan, &before.0.gates, before.0.until));
    let live = staging.wait_for("the release", |object| object["status"]["release"]["revision"] == 2);
    assert_eq!(live["status"]["release"], before.1["release"]);
}

#[test]
fn of_two_with_the_same_plan_the_second_ends_when_the_first_has_and_the_queue_goes_on() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    project.version("v1.2.0");
    let first = project.promote("first", &to("staging", "v1.1.0"));
    first.wait_phase(PromotionPhase::ReadyForDeploy);
    let second = project.promote("second", &to("staging", "v1.1.0"));
    let same = project.promote("third", &to("staging", "v1.2.0"));
    second.wait_gate("queue", "InLine");
    staging.deployed();
    assert_eq!(second.wait_phase(PromotionPhase::Succeeded).revision, None);
    assert!(second.message().contains("Nothing to do"), "{}", second.message());
    same.wait_phase(PromotionPhase::ReadyForDeploy);
}

#[test]
fn an_edit_that_comes_back_to_what_applies_is_reported_although_nothing_is_pending_any_more() {
    let project = Project::new("shop");
    let (dev, _) = shop(&project);
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "X", "value": "5"}]}}));
    let rules = json!({"configChanges": "Promoted"});
    let qa = project.environment("qa").starting_with("v1.0.0").with("promotion", rules).ready();
    let carry = json!({"target": "qa", "source": {"environment": "dev"}, "config": {"variables": ["X"]}});
    project.promote("carry", &carry).wait_phase(PromotionPhase::ReadyForDeploy);
    for value in ["6", "5"] {
        qa.edit_and_wait(&json!({"config": {"variables": [{"name": "X", "value": value}]}}));
    }
    assert!(qa.live()["status"]["pendingConfig"].is_null());
    assert_eq!(qa.variables(), json!({"X": "5"}));
    assert!(
        qa.events().iter().all(|(reason, _)| reason != "DriftRepaired"),
        "nobody changed anything: {:?}",
        qa.events()
    );
}

#[test]
fn an_emergency_rollback_goes_past_the_queue_and_past_confirmations() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    project.version("v1.2.0");
    project.promote("up", &to("staging", "v1.1.0")).wait_phase(PromotionPhase::ReadyForDeploy);
    staging.edit_and_wait(&json!({"promotion": {"confirmations": {"required": 2}}}));
    let waiting = project.promote("waiting", &to("staging", "v1.2.0"));
    waiting.wait_gate("queue", "InLine");
    let fire = json!({"target": "staging", "source": {"revision": 1}, "emergency": true, "reason": "fire"});
    project.promote("fire", &fire).wait_phase(PromotionPhase::ReadyForDeploy);
    assert_eq!(staging.version(), "v1.0.0");
    let record = staging.history().pop().unwrap();
    assert!(record.emergency && record.reason.as_deref() == Some("fire"));
    project.existing_promotion("up").wait_phase(PromotionPhase::Superseded);
}

#[test]
fn a_newer_promotion_takes_the_place_of_an_older_one_and_a_lost_status_does_not_bring_that_back() {
    let project = Project::new("shop").unguarded();
    let (_, staging) = shop(&project);
    project.version("v1.2.0");
    staging.edit_and_wait(&json!({"promotion": {"queue": "Supersede", "confirmations": {"required": 1}}}));
    let older = project.promote("a", &to("staging", "v1.1.0"));
    older.wait_phase(PromotionPhase::AwaitingConfirmation);
    let newer = project.promote("b", &to("staging", "v1.2.0"));
    older.wait_phase(PromotionPhase::Superseded);
    eventually("the mark of the end", || {
        older.get().filter(|live| live["metadata"]["annotations"]["platform.puraify.app/ended"] == "Superseded")
    });
    newer.patch(&json!({"cancel": true})).unwrap();
    newer.wait_phase(PromotionPhase::Cancelled);
    staging.edit_and_wait(&json!({"promotion": {"confirmations": null}}));
    let wipe = r#"[{"op": "remove", "path": "/status"}]"#;
    project.kubectl(&["patch", "promo", "a", "--subresource", "status", "--type", "json", "--patch", wipe]);
    older.wait_for("its end", |status| {
        status.conditions.iter().any(|condition| condition.reason == "EndedBefore")
            && status.phase == Some(PromotionPhase::Superseded)
    });
    assert_eq!(staging.version(), "v1.0.0");
}

#[test]
fn a_time_that_not_every_language_knows_is_refused() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    for at in ["9999-12-31T23:59:59+99:99", "2026-01-01T00:00:00+99:99", "soon"] {
        let report = json!({"status": {"deployment": {"revision": 1, "state": "Succeeded", "at": at}}}).to_string();
        let args = ["patch", "penv", staging.name(), "--subresource", "status", "--type", "merge", "--patch", &report];
        assert!(project.try_kubectl(&args).unwrap_err().to_string().contains("status.deployment.at"), "{at}");
    }
}

#[test]
fn what_somebody_wrote_into_our_part_of_a_status_is_taken_out() {
    let project = Project::new("shop").in_which_somebody_lies();
    project.version("v1.0.0");
    project.version("v1.1.0");
    let rules = json!({"confirmations": {"required": 1}});
    project.environment("dev").starting_with("v1.0.0").with("promotion", rules).ready();
    let promotion = project.promote("p", &to("dev", "v1.1.0"));
    let before = promotion.wait_phase(PromotionPhase::AwaitingConfirmation);
    let forged =
        json!({"status": {"queuePosition": 7, "until": "2030-01-01T00:00:00Z", "waitingFor": "nothing at all"}});
    let forge = |kind: &str, name: &str, status: &Value| {
        let patch = status.to_string();
        project.kubectl(&["patch", kind, name, "--subresource", "status", "--type", "merge", "--patch", &patch]);
    };
    forge("promo", "p", &forged);
    promotion.wait_for("what is ours", |status| *status == before);
    forge("pver", "v1.1.0", &json!({"status": {"environments": [{"name": "production", "revision": 3}]}}));
    eventually("the version's own words", || {
        let version = project.cluster().get("pver", project.namespace(), "v1.1.0")?;
        version["status"]["environments"].is_null().then_some(())
    });
}

#[test]
fn edits_of_a_production_s_configuration_wait_for_their_promotion() {
    let project = Project::new("shop");
    project.version("v1.0.0");
    let production =
        project.environment("production").class("Production").starting_with("v1.0.0").flag("BETA", false).ready();
    production.edit(&json!({"config": {"flags": [{"name": "BETA", "enabled": true}]}}));
    production.wait_condition("ConfigPending", "ConfigPending");
    assert_eq!(production.live()["status"]["pendingConfig"], json!({"flags": {"changed": ["BETA"]}}));
    assert_eq!(production.flags()["flags"]["BETA"]["defaultVariant"], "off");
    let promotion = project.promote("p", &json!({"target": "production", "source": {"pendingConfig": true}}));
    promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    assert_eq!(production.flags()["flags"]["BETA"]["defaultVariant"], "on");
    production.wait_for("nothing pending", |object| object["status"]["pendingConfig"].is_null());
}

#[test]
fn what_upstream_deployed_is_promoted_by_itself() {
    let project = Project::new("shop");
    let (dev, staging) = shop(&project);
    staging.edit_and_wait(&json!({"promotion": {"from": ["dev"], "auto": true}}));
    project.promote("p", &to("dev", "v1.1.0")).wait_phase(PromotionPhase::ReadyForDeploy);
    assert_eq!(staging.version(), "v1.0.0", "released there, and not deployed yet");
    dev.deployed();
    staging.wait_for("v1.1.0", |object| object["status"]["release"]["version"] == "v1.1.0");
    let promotion: Value =
        serde_json::from_str(&project.kubectl(&["get", "promo", "staging-auto-v1.1.0", "--output", "json"])).unwrap();
    assert!(promotion["spec"]["reason"].as_str().unwrap().contains("was deployed in dev"));
}

#[test]
fn development_follows_what_is_published() {
    let project = Project::new("shop");
    project.version("v1.0.0");
    let dev = project
        .environment("dev")
        .starting_with("v1.0.0")
        .with("promotion", json!({"auto": true, "versions": "^1"}))
        .ready();
    project.version("v2.0.0");
    project.version("v1.1.0");
    dev.wait_for("v1.1.0", |object| object["status"]["release"]["version"] == "v1.1.0");
}

#[test]
fn an_ended_promotion_goes_when_it_asked_to_and_its_name_never_moves_anything_again() {
    let project = Project::new("shop");
    let (_, staging) = shop(&project);
    let spec = json!({"target": "staging", "source": {"version": "v1.1.0"}, "ttlAfterFinished": "1s"});
    let promotion = project.promote("september", &spec);
    promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    staging.deployed();
    eventually("its end", || promotion.get().is_none().then_some(()));
    // Git puts it back.
    project.version("v1.2.0");
    let spec = json!({"target": "staging", "source": {"version": "v1.2.0"}});
    let again = project.promote("september", &spec);
    let status = again.wait_phase(PromotionPhase::Succeeded);
    assert_eq!((status.revision.unwrap().get(), staging.version()), (2, "v1.1.0".to_owned()));
}

#[test]
fn what_names_something_missing_waits_and_goes_on_when_it_comes() {
    let project = Project::new("shop");
    let promotion = project.promote("p", &to("dev", "v1.1.0"));
    promotion.wait_phase(PromotionPhase::Pending);
    assert!(promotion.message().contains("no environment dev"), "{}", promotion.message());
    project.version("v1.0.0");
    let dev = project.environment("dev").starting_with("v1.0.0").ready();
    promotion.wait_for("the version to be missed", |status| {
        status.waiting_for.as_ref().is_some_and(|waiting| waiting.contains("no PlatformVersion v1.1.0"))
    });
    project.version("v1.1.0");
    promotion.wait_phase(PromotionPhase::ReadyForDeploy);
    assert_eq!(dev.version(), "v1.1.0");
}

#[test]
fn the_api_server_refuses_what_makes_no_sense_in_words() {
    let project = Project::new("shop").unguarded();
    let refused = |spec: &Value| {
        project
            .cluster()
            .kubectl()
            .create(&Promotion::manifest(&project, "p", spec).to_string())
            .unwrap_err()
            .to_string()
    };
    for (spec, words) in [
        (json!({"target": "staging", "source": {}}), "exactly one of environment, version, revision"),
        (json!({"target": "staging", "source": {"version": "v1", "environment": "dev"}}), "exactly one of"),
        (json!({"target": "staging", "source": {"environment": "staging"}}), "the same environment"),
        (
            json!({"target": "staging", "source": {"version": "v1"}, "config": {"flags": ["A"]}}),
            "needs source.environment",
        ),
        (json!({"target": "staging", "source": {"version": "v1"}, "emergency": true}), "needs source.revision"),
        (json!({"target": "staging", "source": {"pendingConfig": false}}), "pendingConfig is true or left out"),
        (json!({"target": "staging", "source": {"revision": 0}}), "greater than or equal to 1"),
        (json!({"target": "../x", "source": {"revision": 1}}), "should match"),
        (json!({"target": "staging", "source": {"version": "v1"}, "ttlAfterFinished": "9999h"}), "out of bounds"),
    ] {
        let message = refused(&spec);
        assert!(message.contains(words), "{spec}: {message}");
    }
    let promotion = project.promote(
        "p",
        &json!({"target": "staging", "source": {"version": "v1.0.0"}, "confirmations": [
        {"user": "ben", "digest": environment_manager::api::Digest::of(b"x")}]}),
    );
    for (change, words) in [
        (json!({"target": "production"}), "cannot be changed"),
        (json!({"reason": "other"}), "cannot be changed"),
        (json!({"dryRun": true}), "cannot be changed"),
        (json!({"confirmations": []}), "only ever added"),
        (json!({"confirmations": null}), "only ever added"),
    ] {
        let message = promotion.patch(&change).unwrap_err().to_string();
        assert!(message.contains(words), "{change}: {message}");
    }
    promotion.patch(&json!({"cancel": true})).unwrap();
    promotion.wait_phase(PromotionPhase::Cancelled);
    assert!(promotion.patch(&json!({"cancel": false})).unwrap_err().to_string().contains("stays cancelled"));
}

#[test]
fn old_revisions_go_and_the_history_stays_verifiable() {
    let project = Project::new("shop").unguarded();
    project.version("v1.0.0");
    let dev = project.environment("dev").starting_with("v1.0.0").with("revisionHistoryLimit", json!(2)).ready();
    dev.deployed();
    for value in ["1", "2", "3", "4"] {
        dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": value}]}}));
    }
    let kept: Vec<u32> = dev.history().iter().map(|record| record.revision.get()).collect();
    assert_eq!(kept, [1, 4, 5], "the last one that was deployed well, and two in a row");
    dev.verify_history().unwrap();
    project.kubectl(&["delete", "erev", "dev-4"]);
    assert_eq!(dev.verify_history().unwrap_err().to_string(), "revision 4 is missing");
}

#[test]
fn a_leader_that_is_killed_in_the_middle_and_its_successor_make_one_revision_for_each_number() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let [leader, _standby] = [Operator::start(&cluster), Operator::start(&cluster)];
    let (_, staging) = shop(&project);
    staging.edit_and_wait(&json!({"promotion": {"deployment": {"deadline": "0s"}}}));
    for minor in 2..8 {
        project.version(&format!("v1.{minor}.0"));
    }
    // All at once: each fails at its deadline as soon as it has moved, and the next one is in line.
    let promotions: Vec<_> =
        (2..8).map(|minor| project.promote(&format!("p{minor}"), &to("staging", &format!("v1.{minor}.0")))).collect();
    promotions[1].wait_for("something to have moved", |status| status.revision.is_some());
    leader.kill(&cluster);
    for promotion in &promotions {
        promotion.wait_for("its end", |status| status.phase.is_some_and(PromotionPhase::is_terminal));
    }
    staging.verify_history().unwrap();
    let makers: Vec<String> =
        staging.history().iter().filter_map(|record| Some(record.promotion.as_ref()?.name.clone())).collect();
    let mut distinct = makers.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), makers.len(), "each moved once: {makers:?}");
}
