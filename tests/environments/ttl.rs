//! Temporary environments: gone to the last trace at their deadline, and not before.

use std::time::Duration;

use devcluster::wait_until;
use jiff::Timestamp;
use serde_json::json;

use crate::support::{Cluster, Environment, Operator, Project, condition};

fn deadline(environment: &Environment<'_>) -> Timestamp {
    environment.live()["status"]["expiresAt"].as_str().unwrap().parse().unwrap()
}

fn created(environment: &Environment<'_>) -> Timestamp {
    environment.live()["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_preview_is_gone_to_the_last_trace_at_its_deadline() {
    let project = Project::new("shop");
    let demo = project.environment("demo").preview("14s").ready();
    let deadline = deadline(&demo);
    assert_eq!(deadline.duration_since(created(&demo)).as_secs(), 14);
    let namespace = demo.namespace_object();

    let message = demo.wait_condition("Expiring", "TtlEndsSoon");
    assert!(message.contains(&deadline.to_string()) && message.contains("raise spec.ttl"), "{message}");
    assert_eq!(demo.live()["status"]["phase"], "Expiring");
    assert_eq!(demo.condition("Ready").unwrap()["status"], "True", "it works until then");
    assert!(Timestamp::now() < deadline, "warned too late");
    demo.wait_event("TtlEndsSoon", &["will be deleted"]);

    demo.wait_gone();
    assert!(Timestamp::now() >= deadline, "deleted too early");
    assert_eq!(namespace.get(), None);
    assert_eq!(demo.history(), vec![]);
    let early = demo.states().into_iter().find(|state| {
        let at = state.object["metadata"]["deletionTimestamp"].as_str().map(|at| at.parse::<Timestamp>().unwrap());
        at.is_some_and(|at| at < deadline)
    });
    assert!(early.is_none(), "{early:?}");
}

#[test]
fn a_preview_is_deleted_although_the_operator_was_down_at_its_deadline() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let operator = Operator::start(&cluster);
    let demo = project.environment("demo").preview("10s").ready();
    let deadline = deadline(&demo);
    operator.kill(&cluster);
    wait_until("the deadline", Duration::from_mins(1), || Ok((Timestamp::now() > deadline).then_some(()))).unwrap();
    assert!(demo.live()["metadata"]["deletionTimestamp"].is_null());
    let _operator = Operator::start(&cluster);
    demo.wait_gone();
    assert_eq!(demo.namespace_object().get(), None);
    assert_eq!(demo.history(), vec![]);
}

#[test]
fn a_ttl_can_be_raised_until_the_deadline() {
    let project = Project::new("shop");
    let demo = project.environment("demo").preview("12s").ready();
    let first = deadline(&demo);
    demo.wait_condition("Expiring", "TtlEndsSoon");
    demo.edit(&json!({"ttl": "2h"}));
    let extended = demo.wait_for("the later deadline", |object| condition(object, "Expiring").is_none());
    assert_eq!(extended["status"]["phase"], "Active");
    assert_eq!(deadline(&demo).duration_since(created(&demo)).as_hours(), 2);
    wait_until("the first deadline", Duration::from_mins(1), || Ok((Timestamp::now() > first).then_some(()))).unwrap();
    // A reconcile after the deadline, so that an old timer would have been noticed.
    demo.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "1"}]}}));
    assert!(demo.live()["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn a_ttl_that_is_lowered_below_the_present_ends_the_environment() {
    let project = Project::new("shop");
    let demo = project.environment("demo").preview("1h").ready();
    wait_until("an age above ten seconds", Duration::from_mins(1), || {
        Ok((Timestamp::now().duration_since(created(&demo)).as_secs() > 10).then_some(()))
    })
    .unwrap();
    demo.edit(&json!({"ttl": "10s"}));
    demo.wait_gone();
    assert_eq!(demo.namespace_object().get(), None);
}

#[test]
fn a_preview_needs_a_ttl_and_production_must_not_have_one() {
    let project = Project::new("shop");
    let refusal = project.environment("demo").class("Preview").refused();
    assert!(refusal.contains("spec.ttl is required with class Preview"), "{refusal}");
    let refusal = project.environment("prod").class("Production").with("ttl", json!("72h")).refused();
    assert!(refusal.contains("spec.ttl is not allowed with class Production"), "{refusal}");
    let demo = project.environment("demo").preview("1h").ready();
    let refusal = demo.try_edit(&json!({"ttl": null})).unwrap_err().to_string();
    assert!(refusal.contains("spec.ttl is required with class Preview"), "{refusal}");
    project.environment("qa").class("Staging").with("ttl", json!("1h")).ready();
}

#[test]
fn a_ttl_out_of_bounds_is_refused_with_the_bounds() {
    let project = Project::new("shop");
    for ttl in ["0s", "9s", "8761h", "2629800h", "-1h", "1d", "soon", "30m1h", "1.5h", "h", "99999999999999h"] {
        let refusal = project.environment("demo").preview(ttl).refused();
        let says = refusal.contains("10s to 8760h") && refusal.contains("for example 72h");
        assert!(says && refusal.contains(ttl) || refusal.contains("Too long"), "{ttl}: {refusal}");
    }
    for ttl in [json!(0), json!(72), json!("")] {
        let refusal = project.environment("demo").class("Preview").with("ttl", ttl.clone()).refused();
        assert!(refusal.contains("ttl"), "{ttl}: {refusal}");
    }
    for (name, ttl) in [("short", "10s"), ("long", "8760h"), ("mixed", "1h30m15s")] {
        project.environment(name).preview(ttl).create();
    }
}
