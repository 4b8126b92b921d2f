//! Versions: what changed from the parent, whether they are validated, where they are, and that none disappears that a
//! revision names.

use serde_json::{Value, json};

use crate::support::{Project, condition, eventually};

fn version(project: &Project, name: &str) -> Option<Value> {
    project.cluster().get("pver", project.namespace(), name)
}

#[track_caller]
fn wait(project: &Project, name: &str, what: &str, mut found: impl FnMut(&Value) -> bool) -> Value {
    eventually(&format!("{name}: {what}"), || version(project, name).filter(&mut found))
}

fn holds(version: &Value, name: &str) -> bool {
    condition(version, name).is_some_and(|condition| condition["status"] == "True")
}

#[test]
fn the_difference_from_the_parent_is_shown_as_soon_as_the_parent_is_there() {
    let project = Project::new("shop");
    project.version_with("v1.1.0", &json!({"parent": "v1.0.0"}));
    let alone = wait(&project, "v1.1.0", "ready", |version| holds(version, "Ready"));
    assert!(alone["status"]["diff"].is_null());
    assert!(condition(&alone, "Ready").unwrap()["message"].as_str().unwrap().contains("v1.0.0 is not there"));
    project.version("v1.0.0");
    let compared = wait(&project, "v1.1.0", "compared", |version| !version["status"]["diff"].is_null());
    // The two have the same parts, each with another definition.
    let entities = &compared["status"]["diff"]["entities"];
    assert_eq!((&entities["changed"], &entities["changedCount"]), (&json!(["Customer", "Order"]), &json!(2)));
}

#[test]
fn it_is_validated_when_all_has_passed_that_some_environment_demands() {
    let project = Project::new("shop");
    project.version("v1.0.0");
    wait(&project, "v1.0.0", "validated", |version| holds(version, "Validated"));
    project.environment("dev").with("promotion", json!({"validations": ["schema"]})).ready();
    project.environment("qa").with("promotion", json!({"validations": ["e2e"]})).ready();
    let missing = wait(&project, "v1.0.0", "not validated", |version| {
        condition(version, "Validated")
            .is_some_and(|condition| condition["message"].as_str().unwrap().contains("e2e, schema"))
    });
    assert!(!holds(&missing, "Validated"));
    project.validate("v1.0.0", "schema", "Passed");
    project.validate("v1.0.0", "e2e", "Passed");
    let validated = wait(&project, "v1.0.0", "validated", |version| holds(version, "Validated"));
    assert_eq!(validated["status"]["validations"].as_array().unwrap().len(), 2, "their reporters' own entries");
}

#[test]
fn it_says_where_it_is() {
    let project = Project::new("shop");
    project.version("v1.0.0");
    project.version("v1.1.0");
    let dev = project.environment("dev").starting_with("v1.0.0").ready();
    let is_in = |version: &Value, expected: Value| {
        version["status"]["environments"].as_array().map_or(json!([]), |list| json!(list)) == expected
    };
    wait(&project, "v1.0.0", "in dev", |version| is_in(version, json!([{"name": "dev", "revision": 1}])));
    project.promote("p", &json!({"target": "dev", "source": {"version": "v1.1.0"}}));
    wait(&project, "v1.1.0", "in dev", |version| is_in(version, json!([{"name": "dev", "revision": 2}])));
    wait(&project, "v1.0.0", "nowhere", |version| is_in(version, json!([])));
    assert_eq!(dev.version(), "v1.1.0");
}

#[test]
fn one_that_a_revision_names_cannot_disappear_and_goes_with_the_last_of_them() {
    let project = Project::new("shop");
    project.version("v1.0.0");
    let dev = project.environment("dev").starting_with("v1.0.0").ready();
    wait(&project, "v1.0.0", "held", |version| version["metadata"]["finalizers"].is_array());
    project.kubectl(&["delete", "pver", "v1.0.0", "--wait=false"]);
    let waiting = wait(&project, "v1.0.0", "in use", |version| {
        condition(version, "Ready").is_some_and(|ready| ready["reason"] == "InUse")
    });
    assert!(condition(&waiting, "Ready").unwrap()["message"].as_str().unwrap().contains("dev-1"));
    dev.delete();
    dev.wait_gone();
    eventually("the end of v1.0.0", || version(&project, "v1.0.0").is_none().then_some(()));
}

#[test]
fn one_that_nothing_names_goes_at_once() {
    let project = Project::new("shop");
    project.version("v1.0.0");
    wait(&project, "v1.0.0", "ready", |version| holds(version, "Ready"));
    project.kubectl(&["delete", "pver", "v1.0.0", "--timeout=30s"]);
}
