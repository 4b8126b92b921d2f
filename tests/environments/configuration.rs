//! Configuration: every change is a revision, and what came with the base stays until it is named.

use environment_manager::api::Cause;
use serde_json::{Value, json};

use crate::support::{Environment, Project};

fn variables(pairs: &[(&str, &str)]) -> Value {
    let list: Vec<Value> = pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"config": {"variables": list}})
}

/// The names of the content `ConfigMaps`, sorted.
fn content(environment: &Environment<'_>) -> Vec<String> {
    let maps = environment.children("configmap");
    let names = maps.iter().map(|map| map["metadata"]["name"].as_str().unwrap().to_owned());
    names.filter(|name| name != "release").collect()
}

#[test]
fn an_edit_makes_a_revision_that_says_what_changed() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").variable("A", "1").variable("B", "1").ready();
    dev.edit_and_wait(&variables(&[("A", "2"), ("C", "1")]));
    let history = dev.history();
    assert_eq!(history.len(), 2);
    let second = &history[1];
    assert_eq!((second.cause, second.revision.get()), (Cause::ConfigChanged, 2));
    assert_eq!(second.version, history[0].version);
    assert_eq!(second.previous, Some(history[0].digest));
    let changes = &second.changes.variables;
    assert_eq!((&changes.added[..], &changes.removed[..]), (&["C".to_owned()][..], &["B".to_owned()][..]));
    assert_eq!(changes.changed, ["A"]);
    assert_eq!(dev.variables(), json!({"A": "2", "C": "1"}));
    assert_eq!(dev.release()["revision"], "2");
    assert_eq!(dev.live()["status"]["release"]["revision"], 2);
    dev.wait_event("ConfigChanged", &["Revision 2", "variables added: C", "removed: B", "changed: A"]);
}

#[test]
fn the_history_is_a_chain_that_shows_an_edit() {
    let project = Project::new("shop").unguarded();
    let dev = project.environment("dev").ready();
    for value in ["1", "2", "3"] {
        dev.edit_and_wait(&variables(&[("A", value)]));
    }
    assert_eq!(dev.history().len(), 4);
    dev.verify_history().unwrap();
    // A record cannot be edited, but who may delete and create can put another one in its place.
    let mut forged: Value =
        serde_json::from_str(&project.kubectl(&["get", "erev", "dev-2", "--output", "json"])).unwrap();
    forged["metadata"] =
        json!({"name": "dev-2", "namespace": project.namespace(), "labels": forged["metadata"]["labels"]});
    forged["spec"]["actor"] = json!("mallory");
    project.kubectl(&["delete", "erev", "dev-2"]);
    project.create(&forged);
    assert_eq!(
        dev.verify_history().unwrap_err().to_string(),
        "revision 2 was edited: its digest does not fit its content"
    );
}

#[test]
fn a_history_that_was_cut_is_told_and_neither_rolled_back_nor_numbered_anew() {
    let project = Project::new("shop").unguarded();
    let dev = project.environment("dev").variable("A", "1").ready();
    dev.edit_and_wait(&variables(&[("A", "2")]));
    let release = dev.release();
    project.kubectl(&["delete", "erev", "dev-2"]);
    let message = dev.wait_condition("Stalled", "HistoryBroken");
    assert!(message.contains("dev-2"), "{message}");
    assert_eq!(dev.release(), release);
    let accept = r#"{"status": {"release": null}}"#;
    project.kubectl(&["patch", "penv", "dev", "--subresource=status", "--type=merge", "--patch", accept]);
    dev.wait_for("a revision after the first", |object| object["status"]["release"]["revision"] == 2);
    dev.wait_ready();
    dev.verify_history().unwrap();
}

#[test]
fn nobody_can_change_a_revision() {
    let project = Project::new("shop");
    project.environment("dev").ready();
    let patch = r#"{"spec": {"actor": "mallory"}}"#;
    let refusal = project.try_kubectl(&["patch", "erev", "dev-1", "--type=merge", "--patch", patch]).unwrap_err();
    assert!(refusal.to_string().contains("history cannot be changed"), "{refusal}");
}

#[test]
fn an_inherited_key_stays_until_it_is_named_and_goes_when_it_is_named_no_more() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    project.environment("dev").starting_with("v1.4.3").variable("A", "dev").variable("B", "dev").ready();
    let staging = project.environment("staging").cloned_from("dev").variable("C", "staging").ready();
    assert_eq!(staging.variables(), json!({"A": "dev", "B": "dev", "C": "staging"}));
    staging.edit_and_wait(&variables(&[("C", "edited")]));
    assert_eq!(staging.variables(), json!({"A": "dev", "B": "dev", "C": "edited"}));
    staging.edit_and_wait(&variables(&[("A", "staging")]));
    assert_eq!(staging.variables(), json!({"A": "staging", "B": "dev"}));
    staging.edit_and_wait(&variables(&[]));
    assert_eq!(staging.variables(), json!({"B": "dev"}));
    staging.verify_history().unwrap();
}

#[test]
fn a_flag_is_switched_without_touching_the_variables() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("A", "1").flag("BETA_FORM", false).ready();
    let before = dev.release();
    dev.edit_and_wait(&json!({"config": {"flags": [{"name": "BETA_FORM", "enabled": true}]}}));
    let after = dev.release();
    assert_eq!(dev.flags()["flags"]["BETA_FORM"]["defaultVariant"], "on");
    assert_eq!(after["variables"], before["variables"]);
    assert_ne!(after["flags"], before["flags"]);
    assert_ne!(after["configDigest"], before["configDigest"]);
}

#[test]
fn the_content_of_the_release_before_stays_and_older_content_is_cleared_away() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("A", "1").ready();
    let name = |environment: &Environment<'_>| environment.release()["variables"].as_str().unwrap().to_owned();
    let first = name(&dev);
    dev.edit_and_wait(&variables(&[("A", "2")]));
    let second = name(&dev);
    assert!(content(&dev).contains(&first) && content(&dev).contains(&second), "{:?}", content(&dev));
    dev.edit_and_wait(&variables(&[("A", "3")]));
    let third = name(&dev);
    dev.child("configmap", &first).wait_gone();
    let kept = content(&dev);
    assert!(kept.contains(&second) && kept.contains(&third), "{kept:?}");
    assert_eq!(kept.len(), 3, "two of variables, one of flags: {kept:?}");
    dev.edit_and_wait(&variables(&[("A", "1")]));
    assert_eq!(name(&dev), first, "the same content has the same name");
    assert_eq!(dev.variables(), json!({"A": "1"}));
}

#[test]
fn the_order_of_keys_makes_no_revision() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("A", "1").variable("B", "2").ready();
    let before = dev.live()["status"]["release"].take();
    dev.edit_and_wait(&variables(&[("B", "2"), ("A", "1")]));
    assert_eq!(dev.live()["status"]["release"], before);
    assert_eq!(dev.history().len(), 1);
}

#[test]
fn a_plain_value_becomes_a_reference_to_a_secret_and_leaves_the_namespace() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("API_KEY", "oops").ready();
    let vault = json!({"path": "payments", "key": "api_key"});
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "API_KEY", "vault": vault}]}}));
    assert_eq!(dev.variables(), json!({}));
    assert_eq!(dev.history()[1].changes.variables.changed, ["API_KEY"]);
}

#[test]
fn an_apply_of_a_key_that_somebody_patched_is_refused_until_it_is_forced() {
    let project = Project::new("shop");
    let flag = |enabled: bool| project.environment("dev").flag("NEW_CART", enabled).manifest().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, flag(true)).unwrap();
    let apply = |more: &[&str]| project.try_kubectl(&[&["apply", "--server-side", "--filename", path], more].concat());
    apply(&[]).unwrap();
    let dev = project.existing("dev");
    dev.wait_ready();
    dev.edit_and_wait(&json!({"config": {"flags": [{"name": "NEW_CART", "enabled": false}]}}));
    let refusal = apply(&[]).unwrap_err().to_string();
    assert!(refusal.contains("conflict with \"kubectl-patch\""), "{refusal}");
    assert!(refusal.contains(".spec.config.flags[name=\"NEW_CART\"].enabled"), "{refusal}");

    std::fs::write(path, flag(false)).unwrap();
    apply(&[]).unwrap();
    std::fs::write(path, flag(true)).unwrap();
    apply(&["--force-conflicts"]).unwrap();
    dev.wait_for("the flag of the file", |object| object["status"]["observedGeneration"] == 3);
    dev.wait_ready();
    assert_eq!(dev.flags()["flags"]["NEW_CART"]["defaultVariant"], "on");
}

#[test]
fn edits_in_quick_succession_end_with_the_last_one() {
    let project = Project::new("shop");
    let dev = project.environment("dev").ready();
    for value in 1..=8 {
        dev.edit(&variables(&[("A", &value.to_string())]));
    }
    dev.wait_for("the last edit", |object| {
        object["status"]["observedGeneration"] == 9
            && crate::support::condition(object, "Ready").unwrap()["status"] == "True"
    });
    assert_eq!(dev.variables(), json!({"A": "8"}));
    dev.verify_history().unwrap();
}
