//! The end: access goes first, live tokens die, and nothing is left but what nobody may delete.

use serde_json::Value;

use crate::{
    support::eventually,
    world::{World, place, refused},
};

#[test]
fn access_ends_first_in_the_order_that_is_promised_and_a_live_token_is_dead() {
    let world = World::shared();
    let project = world.project("removal");
    let dev = project.environment("dev").secret("A", "deep/er/secret", "a").create();
    let (prefix, role) = (place(&dev).prefix, place(&dev).role);
    world.put(&format!("{prefix}/deep/er/secret"), "a", "1");
    world.put(&format!("{prefix}/extra"), "b", "2");
    // Somebody has a name for it that means something else in an address.
    world.put(&format!("{prefix}/what now? 100%"), "c", "3");
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    dev.wait_ready();
    let jwt = world.jwt(&dev);
    let live = world.bao.with_token(world.bao.login("kubernetes", &role, &jwt).unwrap());
    let read = ["kv".to_owned(), "get".to_owned(), "-mount=kv".to_owned(), format!("{prefix}/deep/er/secret")];
    live.run(read.iter().map(String::as_str)).unwrap();
    dev.delete();
    dev.wait_gone();
    assert!(live.run(read.iter().map(String::as_str)).is_err(), "a token from before is good for nothing");
    assert!(world.bao.login("kubernetes", &role, &jwt).is_err());
    let left = world.bao.as_root().run(["kv", "list", "-mount=kv", &prefix]);
    assert!(left.is_err(), "{left:?}");

    let deletions: Vec<String> = world
        .requests()
        .iter()
        .filter(|entry| entry["type"] == "response" && entry["request"]["operation"] == "delete")
        .filter_map(|entry| entry["request"]["path"].as_str().map(str::to_owned))
        .filter(|path| path.contains(&role) || path.contains(&prefix))
        .collect();
    println!("{deletions:#?}");
    assert_eq!(deletions[0], format!("auth/kubernetes/role/{role}"));
    assert_eq!(deletions[1], format!("sys/policies/acl/{role}"));
    assert!(deletions[2..].iter().all(|path| path.starts_with(&format!("kv/metadata/{prefix}/"))));
    assert_eq!(deletions.len(), 5);

    // A later one of the same name has a place of its own, and neither of them reads the other's.
    let again = project.environment("dev").secret("A", "deep/er/secret", "a").create();
    let new = place(&again);
    assert_ne!(new.prefix, prefix);
    world.put(&format!("{}/deep/er/secret", new.prefix), "a", "3");
    world.put(&format!("{prefix}/deep/er/secret"), "a", "2");
    again.annotate("platform.puraify.app/look-into-vault", "1");
    again.wait_ready();
    // The value is there: it is the token that is good for nothing.
    for path in [format!("{prefix}/deep/er/secret"), format!("{}/deep/er/secret", new.prefix)] {
        refused(&live, &["kv", "get", "-mount=kv", &path]);
    }
    // The ServiceAccount is another one. The API server may take the token for good still, that it saw a moment ago: for another audience.
    assert!(world.bao.login("kubernetes", &new.role, &jwt).is_err(), "the old token logs in");
    let reads = world.bao.with_token(world.login(&again));
    reads.run(["kv", "get", "-mount=kv", &format!("{}/deep/er/secret", new.prefix)]).unwrap();
    refused(&reads, &["kv", "get", "-mount=kv", &format!("{prefix}/deep/er/secret")]);
}

#[test]
fn what_an_environment_without_its_finalizer_left_is_found_and_nobody_elses_is_touched() {
    let world = World::start("orphans", &["--set", "secretsOperator.kind=none", "--set", "vault.checkInterval=5s"]);
    let project = world.project("orphans");
    let operator = world.operator(&[]);
    let (dev, stays) = (project.environment("dev").ready(), project.environment("stays").ready());
    let held = project.environment("held").finalizer("example.com/held").ready();
    let (gone, kept, lost) = (place(&dev).role, place(&stays).role, place(&held).role);
    assert!(operator.terminate().success());
    // Ours by name, and not by its mark: that of another cluster, and one that somebody wrote.
    let root = world.bao.as_root();
    let of_another = "# environment-manager at auth/kubernetes-2: p/e 00000000-0000\npath \"kv/data/x\" { capabilities = [\"read\"] }";
    world.bao.write_policy("pf-p--e-00000000", of_another).unwrap();
    world.bao.write_policy("pf-by-hand", "path \"kv/data/x\" { capabilities = [\"read\"] }").unwrap();
    dev.patch(&serde_json::json!({"metadata": {"finalizers": null}}));
    dev.delete();
    dev.wait_gone();
    // One that somebody else holds is as good as gone.
    held.delete();
    held.patch(&serde_json::json!({"metadata": {"finalizers": ["example.com/held"]}}));
    let _operator = world.operator(&[]);
    eventually("the end of its access", || (!root.run(["policy", "list"]).unwrap().contains(&lost)).then_some(()));
    assert!(held.get().is_some());
    held.patch(&serde_json::json!({"metadata": {"finalizers": null}}));
    let policies = || root.run(["policy", "list"]).unwrap();
    eventually("the end of what is left over", || (!policies().contains(&gone)).then_some(()));
    let left = policies();
    for name in [kept.as_str(), "pf-p--e-00000000", "pf-by-hand", "environment-manager"] {
        assert!(left.contains(name), "{name}: {left}");
    }
    assert!(!root.run(["list", "auth/kubernetes/role"]).unwrap().contains(&gone));
}

#[test]
fn who_has_a_place_in_vault_is_not_let_go_by_an_operator_that_is_not_told_of_vault() {
    let world = World::start("forgotten", &["--set", "secretsOperator.kind=none"]);
    let project = world.project("forgotten");
    let operator = world.operator(&[]);
    let (dev, goes) = (project.environment("dev").ready(), project.environment("goes").ready());
    let (role, lost) = (place(&dev).role, place(&goes).role);
    assert!(operator.terminate().success());
    let start = |args: &[&str]| world.operator_with(&["--vault", "--secrets-operator"], args);
    let without = start(&[]);
    dev.wait_said("SecretsReady", "VaultNotConfigured");
    assert!(dev.is_ready());
    goes.delete();
    let message = goes.wait_said("Ready", "VaultNotConfigured");
    assert!(message.contains(&lost) && message.contains("vault.address"), "{message}");
    assert!(without.terminate().success());
    // It is told again.
    let operator = world.operator(&[]);
    goes.wait_gone();
    let policies = || world.bao.as_root().run(["policy", "list"]).unwrap();
    assert!(!policies().contains(&lost));
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    eventually("the one that stays to be well", || dev.condition_is("SecretsReady", "True").then_some(()));
    assert!(operator.terminate().success());
    // It is given up.
    dev.delete();
    let _abandoning = start(&["--vault-abandon"]);
    dev.wait_gone();
    assert!(policies().contains(&role), "nobody asked Vault");
}

#[test]
fn drift_is_put_right_at_the_next_look() {
    let world = World::shared();
    let project = world.project("drift");
    let dev = project.environment("dev").ready();
    let role = place(&dev).role;
    let root = world.bao.as_root();
    let policy = root.run(["policy", "read", &role]).unwrap();
    world.bao.write_policy(&role, "path \"*\" { capabilities = [\"sudo\"] }").unwrap();
    let at = format!("auth/kubernetes/role/{role}");
    let before = root.json(["read", &at]).unwrap()["data"].clone();
    root.run(["delete", &at]).unwrap();
    dev.annotate("platform.puraify.app/look-into-vault", "now");
    eventually("the policy and the role", || {
        let same = root.run(["policy", "read", &role]).unwrap() == policy;
        (same && root.run(["read", &at]).is_ok()).then_some(())
    });
    // Somebody lets others log in, and tokens live for ever.
    let selector = r#"bound_service_account_namespace_selector={"matchLabels":{"a":"b"}}"#;
    root.run(["write", &at, "token_period=700h", selector]).unwrap();
    assert_ne!(root.json(["read", &at]).unwrap()["data"], before);
    dev.annotate("platform.puraify.app/look-into-vault", "again");
    eventually("the role as it was", || (root.json(["read", &at]).unwrap()["data"] == before).then_some(()));
}

#[test]
fn a_previews_access_ends_at_its_time_also_without_an_operator() {
    let world = World::start("preview", &["--set", "secretsOperator.kind=none"]);
    let operator = world.operator(&[]);
    let project = world.project("preview");
    let preview = project.environment("preview").preview("1h").secret("A", "a", "k").create();
    let place = place(&preview);
    world.put(&format!("{}/a", place.prefix), "k", "1");
    preview.annotate("platform.puraify.app/look-into-vault", "1");
    preview.wait_ready();
    let root = world.bao.as_root();
    let at = format!("sys/policies/acl/{}", place.role);
    let policy: Value = root.json(["read", &at]).unwrap()["data"].clone();
    let moment = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(moment(&policy["expiration"]), moment(&preview.live()["status"]["expiresAt"]));
    assert!(operator.terminate().success());
    // An hour is long: the same policy with an earlier end is what OpenBao makes of it then.
    let jwt = world.jwt_of(&preview, "workload");
    let live = world.bao.with_token(world.bao.login("kubernetes", &place.role, &jwt).unwrap());
    let read = ["kv", "get", "-mount=kv", &format!("{}/a", place.prefix)];
    live.run(read).unwrap();
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(2);
    let text = policy["policy"].as_str().unwrap();
    root.run(["write", &at, &format!("policy={text}"), &format!("expiration={soon}")]).unwrap();
    eventually("the end of access", || live.run(read).err());
    refused(&live, &read);
}
