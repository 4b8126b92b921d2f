//! While Vault is away.

use std::time::{Duration, Instant};

use devcluster::wait_until;

use crate::{
    support::eventually,
    world::{World, clone_of, place},
};

#[test]
fn everything_keeps_its_last_good_state_and_goes_on_when_vault_is_back() {
    let world = World::start("outage", &["--set", "secretsOperator.kind=none", "--set", "vault.checkInterval=2s"]);
    let _operator = world.operator(&[]);
    let project = world.project("outage");
    project.version("v1.0.0");
    let dev = project.environment("dev").class("Development").starting_with("v1.0.0").secret("A", "a", "k").create();
    world.put(&format!("{}/a", place(&dev).prefix), "k", "1");
    dev.wait_ready();
    let leaves = project.environment("leaves").ready();
    let role = place(&leaves).role;
    world.bao.stop().unwrap();
    // What is there stays as it is, and it is said once.
    let message = eventually("it to be said", || {
        let live = dev.live();
        let condition =
            live["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == "SecretsReady")?.clone();
        (condition["status"] == "Unknown").then(|| condition["message"].as_str().unwrap().to_owned())
    });
    assert!(message.contains("does not answer") && message.contains("when Vault is back"), "{message}");
    assert!(dev.is_ready(), "it had all, and has it still");
    // An edit that has nothing to do with secrets is released.
    dev.edit_and_wait(&serde_json::json!({"config": {"flags": [{"name": "F", "enabled": true}],
        "variables": [{"name": "A", "vault": {"path": "a", "key": "k"}}]}}));
    // What is new waits, and what goes does not skip anything.
    let staging = project.environment("staging").with("baseFrom", clone_of("dev", "Regenerate")).create();
    staging.wait_said("SecretsReady", "VaultUnavailable");
    leaves.delete();
    eventually("the deletion to wait", || {
        leaves.get()?["status"]["conditions"].to_string().contains("when its place in Vault is gone").then_some(())
    });
    assert!(leaves.get().is_some());
    let back = Instant::now();
    world.bao.start_again().unwrap();
    staging.wait_ready();
    leaves.wait_gone();
    wait_until("the first one to be well", Duration::from_secs(30), || {
        Ok(dev.condition_is("SecretsReady", "True").then_some(()))
    })
    .unwrap();
    println!("all went on {:?} after Vault was started again", back.elapsed());
    assert!(world.bao.as_root().run(["policy", "read", &role]).is_err());
    let events = world.cluster.kubectl().json(["get", "events", "--namespace", project.namespace()]).unwrap();
    let told: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| {
            event["reason"] == "VaultUnavailable" && event["involvedObject"]["name"].as_str() == Some("dev")
        })
        .collect();
    // What is told again within minutes is counted in the same event.
    assert!(told.len() == 1 && told[0]["series"].is_null(), "{told:#?}");
}

#[test]
fn a_sealed_vault_is_said_to_be_sealed() {
    let world = World::start("sealed", &["--set", "secretsOperator.kind=none"]);
    let _operator = world.operator(&[]);
    let project = world.project("sealed");
    let dev = project.environment("dev").ready();
    world.bao.seal().unwrap();
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    let other = project.environment("other").create();
    let message = other.wait_said("SecretsReady", "VaultUnavailable");
    assert!(message.contains("sealed"), "{message}");
    world.bao.stop().unwrap();
    world.bao.start_again().unwrap();
    other.wait_ready();
}

#[test]
fn a_vault_that_hangs_is_given_up_after_seconds_and_hides_nothing_else() {
    let world = World::start("hangs", &["--set", "secretsOperator.kind=none"]);
    let _operator = world.operator(&[]);
    let project = world.project("hangs");
    let dev = project.environment("dev").ready();
    world.bao.pause().unwrap();
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    let message = dev.wait_said("SecretsReady", "VaultUnavailable");
    assert!(message.contains("nothing came within 5 s"), "{message}");
    assert!(dev.is_ready());
    // What has nothing to do with it goes on.
    dev.edit_and_wait(&serde_json::json!({"config": {"flags": [{"name": "F", "enabled": true}]}}));
    dev.child("networkpolicy", "default-deny").delete();
    eventually("the repair", || dev.child("networkpolicy", "default-deny").get());
    world.bao.resume().unwrap();
    dev.wait_condition("SecretsReady", "AsIntended");
}

#[test]
fn an_operator_without_its_right_says_which_policy_it_needs_and_goes_on_when_it_has_it() {
    let world = World::start("denied", &["--set", "secretsOperator.kind=none"]);
    let root = world.bao.as_root();
    let policy = root.run(["policy", "read", "environment-manager"]).unwrap();
    world
        .bao
        .write_policy("environment-manager", "path \"auth/token/renew-self\" { capabilities = [\"update\"] }")
        .unwrap();
    let _operator = world.operator(&[]);
    let project = world.project("denied");
    let dev = project.environment("dev").create();
    let message = dev.wait_said("SecretsReady", "VaultRefused");
    assert!(message.contains("environment-manager vault-policy") && message.contains("403"), "{message}");
    world.bao.write_policy("environment-manager", &policy).unwrap();
    dev.wait_ready();
    // Its token is revoked: it logs in anew.
    root.run(["token", "revoke", "-mode=path", "auth/kubernetes"]).unwrap();
    project.environment("next").ready();
}
