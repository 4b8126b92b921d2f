//! Where an environment starts: from nothing, from a version, from another environment.

use environment_manager::{
    api::{Cause, PlatformEnvironment},
    domain::contract::{CreateEnvironment, EnvironmentCreated, VersionRecord},
};
use serde_json::json;

use crate::support::Project;

#[test]
fn an_environment_from_nothing_has_a_first_revision_without_a_version() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("BASE_URL", "https://dev").ready();
    let history = dev.history();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].cause, history[0].revision.get()), (Cause::Created, 1));
    assert_eq!((history[0].version.clone(), history[0].base.clone(), history[0].previous), (None, None, None));
    assert_eq!(history[0].environment_uid, dev.uid());
    assert_eq!(history[0].changes.variables.added, ["BASE_URL"]);
    assert!(dev.release()["version"].is_null());
    dev.verify_history().unwrap();
}

#[test]
fn an_environment_from_a_version_is_bound_to_the_digest_of_its_content() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").ready();
    let version = project.cluster().get("pver", project.namespace(), "v1.4.3").unwrap();
    let release = dev.live()["status"]["release"].take();
    assert_eq!(release["version"], "v1.4.3");
    assert_eq!(release["versionDigest"], version["status"]["digest"]);
    let [first] = &dev.history()[..] else { panic!("{:?}", dev.history()) };
    assert_eq!(first.cause, Cause::Created);
    assert_eq!(json!(first.version.as_ref().unwrap().digest), version["status"]["digest"]);
}

#[test]
fn a_clone_has_its_bases_version_and_configuration_and_its_own_keys_win() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    project
        .environment("dev")
        .starting_with("v1.4.3")
        .variable("BASE_URL", "https://dev")
        .variable("REGION", "eu")
        .secret("API_KEY", "payments", "api_key")
        .flag("BETA_FORM", true)
        .flag("DARK_MODE", true)
        .ready();
    let staging = project
        .environment("staging")
        .cloned_from("dev")
        .variable("BASE_URL", "https://staging")
        .variable("LOG_LEVEL", "info")
        .flag("BETA_FORM", false)
        .ready();
    assert_eq!(staging.live()["status"]["release"]["version"], "v1.4.3");
    assert_eq!(staging.variables(), json!({"BASE_URL": "https://staging", "REGION": "eu", "LOG_LEVEL": "info"}));
    let flags = staging.flags()["flags"].take();
    assert_eq!(flags["BETA_FORM"]["defaultVariant"], "off");
    assert_eq!(flags["DARK_MODE"]["defaultVariant"], "on");
    let [first] = &staging.history()[..] else { panic!("{:?}", staging.history()) };
    assert_eq!(first.cause, Cause::Cloned);
    assert_eq!(json!(first.base), json!({"environment": "dev", "revision": 1}));
    let secret = first.config.variables.iter().find(|variable| variable.name == "API_KEY").unwrap();
    assert_eq!(json!(secret.vault), json!({"path": "payments", "key": "api_key"}));
    assert_eq!(first.changes.variables.added, ["LOG_LEVEL"]);
    assert_eq!(first.changes.variables.changed, ["BASE_URL"]);
    assert_eq!(first.changes.flags.changed, ["BETA_FORM"]);
    staging.wait_event("Cloned", &["cloned from dev-1", "v1.4.3"]);
}

#[test]
fn a_clone_takes_what_its_base_has_now_and_does_not_follow_it_afterwards() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").variable("A", "one").ready();
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "two"}]}}));
    let staging = project.environment("staging").cloned_from("dev").ready();
    assert_eq!(staging.variables(), json!({"A": "two"}));
    assert_eq!(json!(staging.history()[0].base), json!({"environment": "dev", "revision": 2}));
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "three"}]}}));
    assert_eq!(dev.variables(), json!({"A": "three"}));
    assert_eq!(staging.variables(), json!({"A": "two"}));
    dev.delete();
    dev.wait_gone();
    assert_eq!(staging.wait_ready()["status"]["release"]["revision"], 1);
}

#[test]
fn a_clone_can_be_cloned() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    // All at once: each waits for the one before.
    let production = project.environment("production").class("Production").cloned_from("staging").create();
    project.environment("staging").cloned_from("dev").variable("S", "staging").create();
    project.environment("dev").starting_with("v1.4.3").variable("D", "dev").create();
    production.wait_ready();
    assert_eq!(production.variables(), json!({"D": "dev", "S": "staging"}));
    assert_eq!(production.live()["status"]["release"]["version"], "v1.4.3");
}

#[test]
fn a_clone_is_answered_as_the_json_contract_says() {
    let project = Project::new("pf-872");
    // Free text, as platforms have it; a namespace cannot be called so.
    let label = "platform.puraify.app/project-id=pf_872";
    project.kubectl(&["label", "namespace", project.namespace(), "--overwrite", label]);
    project.version("v1.4.3");
    project.environment("dev").class("Development").starting_with("v1.4.3").ready();

    let request = json!({"project_id": "pf_872", "env_name": "staging", "base_env": "dev"});
    let request: CreateEnvironment = serde_json::from_value(request).unwrap();
    project.create(&json!(request.environment(project.namespace()).unwrap()));

    let staging = project.existing("staging").wait_ready();
    let staging: PlatformEnvironment = serde_json::from_value(staging).unwrap();
    assert_eq!(
        json!(EnvironmentCreated::of(&staging)),
        json!({
            "status": "env_created", "env": "staging", "linked_version": "v1.4.3",
            "url": "https://preview.puraify.app/pf_872/staging",
        })
    );
}

#[test]
fn the_url_follows_the_projects_id() {
    let project = Project::new("shop");
    let dev = project.environment("dev").ready();
    let url = |id: &str| format!("https://preview.puraify.app/{id}/dev");
    assert_eq!(dev.live()["status"]["url"], url(project.id()));
    let namespace = project.namespace();
    project.kubectl(&["label", "namespace", namespace, "--overwrite", "platform.puraify.app/project-id=my_shop"]);
    dev.wait_for("the new URL", |object| object["status"]["url"] == url("my_shop"));
    project.kubectl(&["label", "namespace", namespace, "platform.puraify.app/project-id-"]);
    dev.wait_for("the namespace's URL", |object| object["status"]["url"] == url(namespace));
}

#[test]
fn a_revision_reads_as_a_version_record_of_the_json_contract() {
    let project = Project::new("shop");
    project.version("v3.2.0");
    let staging = project.environment("staging").starting_with("v3.2.0").ready();
    staging.edit_and_wait(&json!({"config": {
        "variables": [{"name": "A", "value": "1"}], "flags": [{"name": "BETA_FORM", "enabled": true}],
    }}));
    let history = staging.history();
    let record = json!(VersionRecord::from(&history[1]));
    assert_eq!(
        record,
        json!({
            "version": "v3.2.0", "created_by": "admin", "environment": "staging", "timestamp": history[1].timestamp,
            "changes": {"env_changed": true, "flags_added": ["BETA_FORM"]},
        })
    );
}
