//! Sabotage: what somebody does on purpose, or by a mishap that looks like it. What is ours is taken back, what is not
//! ours stays, and nothing wedges.

use std::time::Duration;

use devcluster::wait_until;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Child, Cluster, Environment, Operator, PATIENT, Project, condition, eventually, kstatus};

/// Applies an object as one who calls himself by the operator's field manager.
fn forge(project: &Project, manifest: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, manifest.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    let manager = "--field-manager=environment-manager";
    project
        .cluster()
        .kubectl()
        .run(["apply", "--server-side", "--force-conflicts", manager, "--filename", path])
        .unwrap();
}

/// What one has to apply to get this object: without what the API server keeps in it.
fn manifest_of(child: &Child) -> Value {
    let mut manifest = child.live();
    manifest.as_object_mut().unwrap().remove("status");
    for field in ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"] {
        manifest["metadata"].as_object_mut().unwrap().remove(field);
    }
    manifest
}

/// Times in `managedFields` are whole seconds. What is done within the second of our own write looks like our write.
fn let_a_second_begin() {
    let now = Timestamp::now().as_second();
    let next = || Ok((Timestamp::now().as_second() > now).then_some(()));
    wait_until("the next second", Duration::from_secs(5), next).unwrap();
}

#[test]
fn what_somebody_wrote_into_our_part_of_the_status_is_taken_out_and_theirs_stays() {
    let project = Project::new("shop").in_which_somebody_lies();
    let dev = project.environment("dev").ready();
    let mut conditions = dev.live()["status"]["conditions"].as_array().unwrap().clone();
    let said = |name: &str| {
        json!({"type": name, "status": "True", "reason": "Forged", "message": "so they say", "observedGeneration": 1,
               "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    conditions.extend([said("Stalled"), said("Expiring"), said("example.com/Audited")]);
    let forged = json!({"status": {
        "conditions": conditions, "expiresAt": "2030-01-01T00:00:00Z", "release": {"version": "v6.6.6"},
    }});
    let before = project.operator_writes().len();
    let patch = forged.to_string();
    project.kubectl(&["patch", "penv", "dev", "--subresource=status", "--type=merge", "--patch", &patch]);

    let mended = dev.wait_for("what is ours", |object| {
        let status = &object["status"];
        let gone = ["Stalled", "Expiring"].iter().all(|name| condition(object, name).is_none());
        let seen = condition(object, "example.com/Audited").is_some();
        seen && gone && status["expiresAt"].is_null() && status["release"]["version"].is_null()
    });
    assert_eq!(condition(&mended, "example.com/Audited").unwrap()["reason"], "Forged", "it is none of ours");
    assert_eq!(kstatus::of(&mended), kstatus::Kstatus::Current);
    // A change that has to be reported, so that all that would have been written before is.
    let edited = dev.edit_and_wait(&json!({"isolation": {"quota": {"pods": 3}}}));
    assert!(condition(&edited, "example.com/Audited").is_some());
    let writes = project.operator_writes().split_off(before);
    let of_status = writes.iter().filter(|write| write.resource == "platformenvironments/status").count();
    assert!(of_status <= 3, "one that says it, one that takes out, one for the edit: {writes:#?}");
}

#[test]
fn what_is_applied_in_our_name_is_put_right() {
    let project = Project::new("shop");
    let staging = project.environment("staging").variable("A", "1").ready();
    let policy = staging.child("networkpolicy", "default-deny");
    let release = staging.child("configmap", "release");
    let (policy_before, release_before) = (policy.live(), release.live());
    let_a_second_begin();

    // All our fields, one of them with another value: nothing but the time of our entry tells.
    let mut open = manifest_of(&policy);
    open["spec"]["ingress"] = json!([{}]);
    open["spec"]["egress"] = json!([{}]);
    forge(&project, &open);
    policy.wait_restored(&policy_before);
    let mut other = manifest_of(&release);
    other["data"]["revision"] = json!("99");
    forge(&project, &other);
    release.wait_restored(&release_before);

    // None of our fields but one: so our labels and our mark are gone.
    let metadata = json!({"name": "default-deny", "namespace": staging.namespace()});
    let bare = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
                      "spec": {"podSelector": {}, "ingress": [{}], "policyTypes": ["Ingress"]}});
    forge(&project, &bare);
    policy.wait_restored(&policy_before);

    // Another environment's mark.
    let mut strange = manifest_of(&policy);
    strange["metadata"]["labels"]["platform.puraify.app/environment-uid"] = json!("another");
    strange["metadata"]["annotations"]["platform.puraify.app/intent"] = json!("another:0");
    forge(&project, &strange);
    policy.wait_restored(&policy_before);

    // By an update, which has an entry of its own.
    policy.patch_as("environment-manager", &json!({"spec": {"ingress": [{}]}}));
    policy.wait_restored(&policy_before);
    staging.wait_ready();
}

#[test]
fn what_is_made_in_our_name_and_not_intended_goes() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let mut backdoor = manifest_of(&staging.child("networkpolicy", "default-deny"));
    backdoor["metadata"]["name"] = json!("backdoor");
    backdoor["spec"] = json!({"podSelector": {}, "ingress": [{}]});
    forge(&project, &backdoor);
    staging.child("networkpolicy", "backdoor").wait_gone();
    staging.wait_ready();
}

/// Has somebody hold a revision, or let go of it.
fn set_finalizers(project: &Project, revision: &str, finalizers: &Value) {
    let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
    project.kubectl(&["patch", "erev", revision, "--type=merge", "--patch", &patch]);
}

#[test]
fn a_revision_that_somebody_holds_delays_nothing_but_the_next_environment_of_that_name() {
    let project = Project::new("shop").unguarded();
    let staging = project.environment("staging").variable("A", "1").ready();
    set_finalizers(&project, "staging-1", &json!(["example.com/archive"]));
    staging.delete();
    staging.wait_gone();
    assert_eq!(staging.namespace_object().get(), None);

    let again = project.environment("staging").variable("A", "2").create();
    let message = again.wait_condition("Reconciling", "FormerHistory");
    assert!(message.contains("finalizers"), "{message}");
    set_finalizers(&project, "staging-1", &Value::Null);
    again.wait_ready();
    assert_eq!(again.variables(), json!({"A": "2"}));
    let history = again.history();
    assert_eq!((history.len(), history[0].environment_uid.clone()), (1, again.uid()));
}

#[test]
fn a_revision_that_somebody_holds_while_it_is_deleted_still_counts() {
    let project = Project::new("shop").unguarded();
    let staging = project.environment("staging").variable("A", "1").ready();
    set_finalizers(&project, "staging-1", &json!(["example.com/archive"]));
    project.kubectl(&["delete", "erev", "staging-1", "--wait=false"]);
    staging.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "2"}]}}));
    staging.verify_history().unwrap();
    assert_eq!(staging.history().len(), 2);
    set_finalizers(&project, "staging-1", &Value::Null);
    staging.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "3"}]}}));
    assert_eq!(staging.variables(), json!({"A": "3"}));
}

#[test]
fn a_ttl_raised_at_the_last_moment_counts_or_comes_too_late() {
    const TTL: i64 = 12_000;
    let project = Project::new("shop");
    let before_the_end = [("early", 1000), ("close", 350), ("closer", 200), ("late", 0)];
    for (name, _) in before_the_end {
        project.environment(name).preview("12s").create();
    }
    let outcomes = before_the_end.map(|(name, milliseconds)| {
        let demo = project.existing(name);
        let created = demo.live()["metadata"]["creationTimestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
        let moment = created + SignedDuration::from_millis(TTL - milliseconds);
        let come = || Ok((Timestamp::now() >= moment).then_some(()));
        wait_until("the last moment", Duration::from_secs(30), come).unwrap();
        let edited = demo.try_edit(&json!({"ttl": "2h"})).is_ok();
        let went = demo.get().is_none_or(|object| !object["metadata"]["deletionTimestamp"].is_null());
        println!("{name}: edited {edited}, on its way out {went}");
        (demo, edited && !went)
    });
    for (demo, in_time) in outcomes {
        if in_time {
            demo.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "1"}]}}));
            assert_eq!(demo.live()["status"]["phase"], "Active", "{}", demo.name());
            assert!(demo.live()["metadata"]["deletionTimestamp"].is_null(), "{}", demo.name());
        } else {
            demo.wait_gone();
            assert_eq!(demo.namespace_object().get(), None);
        }
    }
}

#[test]
fn a_cluster_role_that_is_allowed_and_does_not_exist_is_told_and_awaited() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let role = format!("ghost-{}", project.namespace());
    let roles = ["--allowed-cluster-role", &role, PATIENT];
    let mut operator = Operator::spawn_with(&cluster, cluster.operator_kubeconfig(), &roles);
    operator.wait_ready();
    let access = json!({"access": [{"role": role, "users": ["ana"]}]});
    let dev = project.environment("dev").with("isolation", access).create();
    let message = dev.wait_condition("Reconciling", "WriteFailed");
    assert!(message.contains(&role) && message.contains("not found"), "{message}");
    assert_eq!(dev.condition("Isolated").unwrap()["status"], "False");
    assert!(!dev.children("networkpolicy").is_empty(), "all else is enforced");
    // The operator may give away what it has itself.
    cluster.kubectl().run(["create", "clusterrole", &role, "--verb=get", "--resource=configmaps"]).unwrap();
    dev.wait_ready();
    cluster.kubectl().run(["delete", "clusterrole", &role]).unwrap();
}

/// An environment whose kind is taken away, with all that the operator knows, and comes again.
#[test]
fn kinds_that_are_deleted_and_installed_again_are_served_by_the_same_operator() {
    const CRDS: &str = "crds/platform.puraify.app.yaml";
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let operator = Operator::start(&cluster);
    let dev = project.environment("dev").variable("A", "1").ready();
    cluster.kubectl().run(["delete", "--filename", CRDS, "--wait=false"]).unwrap();
    eventually("the end of the kinds", || {
        let left = cluster.kubectl().run(["get", "crd", "--output", "name"]).ok()?;
        (!left.contains("platform.puraify.app")).then_some(())
    });
    assert_eq!(dev.namespace_object().get(), None, "it went in good order");

    cluster.take_over(&std::fs::read_to_string(CRDS).unwrap());
    eventually("the kinds", || cluster.kubectl().run(["get", "platform", "--all-namespaces"]).ok());
    project.version("v1.4.3");
    let again = project.environment("dev").starting_with("v1.4.3").variable("A", "2").ready();
    assert_eq!(again.variables(), json!({"A": "2"}));
    assert_eq!(again.history().len(), 1);
    is_gone_when_deleted(&again);
    assert!(operator.terminate().success());
}

fn is_gone_when_deleted(environment: &Environment<'_>) {
    environment.delete();
    environment.wait_gone();
    assert_eq!(environment.history(), vec![]);
}
