//! What a clone gets of its base's secrets, and that it is made once.

use serde_json::json;

use crate::{
    support::{Environment, Operator, Project, eventually},
    world::{World, clone_of, place},
};

/// An environment whose secret has two keys, one of which a variable refers to.
fn base<'project>(world: &World, project: &'project Project) -> Environment<'project> {
    project.version("v1.0.0");
    let dev = project
        .environment("dev")
        .class("Development")
        .starting_with("v1.0.0")
        .secret("API_KEY", "payments", "api_key")
        .create();
    let message = dev.wait_said("SecretsReady", "SecretsMissing");
    assert!(message.contains("API_KEY") && message.contains("bao kv put -mount=kv"), "{message}");
    let path = format!("{}/payments", place(&dev).prefix);
    world.bao.as_root().run(["kv", "put", "-mount=kv", &path, "api_key=dev-value", "webhook=dev-hook"]).unwrap();
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    dev.wait_ready();
    dev
}

#[test]
fn a_clone_gets_values_of_its_own_that_nobody_has_seen() {
    let world = World::shared();
    let project = world.project("regenerate");
    base(world, &project);
    let staging = project.environment("staging").with("baseFrom", clone_of("dev", "Regenerate")).ready();
    let values = world.values(&format!("{}/payments", place(&staging).prefix));
    for key in ["api_key", "webhook"] {
        let value = values[key].as_str().unwrap();
        assert!(value.len() >= 20 && !value.contains("dev"), "{key} is made anew");
    }
    let secret = &staging.live()["status"]["secrets"][0];
    assert_eq!(
        (&secret["name"], &secret["state"], &secret["strategy"]),
        (&json!("API_KEY"), &json!("Ready"), &json!("Regenerate"))
    );
    assert!(!staging.live().to_string().contains(values["api_key"].as_str().unwrap()));
}

#[test]
fn a_placeholder_is_found_filled_without_anybody_saying_so() {
    let world = World::shared();
    let project = world.project("placeholder");
    base(world, &project);
    let staging = project.environment("staging").with("baseFrom", clone_of("dev", "Placeholder")).create();
    staging.wait_said("SecretsReady", "SecretsMissing");
    world.put(&format!("{}/payments", place(&staging).prefix), "api_key", "by-hand");
    staging.wait_ready();
}

#[test]
fn a_reference_reads_the_projects_shared_secret_and_nothing_beside_it() {
    let world = World::shared();
    let project = world.project("reference");
    base(world, &project);
    let shared = format!("pf/{}/shared", project.namespace());
    world.put(&format!("{shared}/payments"), "api_key", "for-all");
    world.put(&format!("{shared}/other"), "api_key", "not-for-it");
    let staging = project.environment("staging").with("baseFrom", clone_of("dev", "Reference")).ready();
    let bao = world.bao.with_token(world.login(&staging));
    bao.run(["kv", "get", "-mount=kv", &format!("{shared}/payments")]).unwrap();
    assert!(bao.run(["kv", "get", "-mount=kv", &format!("{shared}/other")]).is_err());
}

#[test]
fn copying_needs_an_operator_that_may_and_leaves_no_access_behind() {
    let world = World::start("copy", &["--set", "secretsOperator.kind=none", "--set", "vault.allowCopy=true"]);
    // One died while it copied for an environment that is gone by now.
    let root = world.bao.as_root();
    let gone = "pf-copy-00000000-0000-0000-0000-000000000000";
    let mark = "# environment-manager at auth/kubernetes: duplicate/gone 00000000-0000-0000-0000-000000000000\n";
    world.bao.write_policy(gone, &format!("{mark}path \"kv/data/x\" {{ capabilities = [\"read\"] }}")).unwrap();
    root.run([
        "write",
        &format!("auth/kubernetes/role/{gone}"),
        "bound_service_account_names=environment-manager",
        "bound_service_account_namespaces=environment-manager",
        "audience=vault",
    ])
    .unwrap();
    let _operator = world.operator(&[]);
    eventually("the end of what it left", || (!root.run(["policy", "list"]).unwrap().contains(gone)).then_some(()));
    assert!(!root.run(["list", "auth/kubernetes/role"]).unwrap_or_default().contains(gone));
    let project = world.project("duplicate");
    base(&world, &project);
    let staging = project.environment("staging").with("baseFrom", clone_of("dev", "Copy")).ready();
    let values = world.values(&format!("{}/payments", place(&staging).prefix));
    assert_eq!(values, json!({"api_key": "dev-value", "webhook": "dev-hook"}));
    let policies = world.bao.as_root().run(["policy", "list"]).unwrap();
    assert!(!policies.contains("pf-copy-"), "{policies}");
    let roles = world.bao.as_root().run(["list", "auth/kubernetes/role"]).unwrap();
    assert!(!roles.contains("pf-copy-"), "{roles}");
}

#[test]
fn production_shares_nothing_with_development() {
    let world = World::shared();
    let project = world.project("border");
    base(world, &project);
    for strategy in ["Copy", "Reference"] {
        let name = strategy.to_lowercase();
        let production =
            project.environment(&name).class("Production").with("baseFrom", clone_of("dev", strategy)).create();
        let message = production.wait_condition("Stalled", "InvalidSpec");
        assert!(message.contains("nothing is shared between Production and other classes"), "{message}");
    }
}

#[test]
fn a_value_that_somebody_took_away_is_lost_and_never_made_anew() {
    let world = World::shared();
    let project = world.project("lost");
    base(world, &project);
    let staging = project.environment("staging").with("baseFrom", clone_of("dev", "Regenerate")).ready();
    let path = format!("{}/payments", place(&staging).prefix);
    let root = world.bao.as_root();
    // Its newest version, which somebody can bring back; then all of it.
    for (how, look) in [(["kv", "delete"].as_slice(), "deleted"), (&["kv", "metadata", "delete"], "gone")] {
        root.run(how.iter().copied().chain(["-mount=kv", &path])).unwrap();
        for time in ["first", "second"] {
            let asked = format!("{look}-{time}");
            staging.annotate("platform.puraify.app/look-into-vault", &asked);
            // What was asked last was looked at when what is asked after it is.
            let before = world.requests().len();
            staging.wait_said("SecretsReady", "SecretsMissing");
            eventually("the look", || {
                let looked = |entry: &serde_json::Value| {
                    let path_is = entry["request"]["path"].as_str().is_some_and(|found| found.ends_with(&path));
                    entry["type"] == "response" && path_is && entry["request"]["operation"] == "read"
                };
                world.requests().iter().skip(before).any(looked).then_some(())
            });
        }
        let kept = root.json(["kv", "metadata", "get", "-mount=kv", &path]);
        assert!(kept.is_err() || kept.unwrap()["data"]["current_version"] == 1, "{look}: it is not made anew");
        let secret = staging.live()["status"]["secrets"][0].clone();
        assert_eq!(secret["state"], "Lost", "{secret}");
    }
    let message = staging.condition("SecretsReady").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("API_KEY (had one before)"), "{message}");
    world.put(&path, "api_key", "by-hand");
    staging.annotate("platform.puraify.app/look-into-vault", "again");
    staging.wait_ready();
}

/// An operator that is killed after each write to Vault that was answered, and before the next one is, until the clone is there: no
/// value is made a second time, and nothing stays of what it was doing.
#[test]
fn an_operator_killed_at_any_point_makes_no_value_twice() {
    let world = World::start("killed", &["--set", "secretsOperator.kind=none", "--set", "vault.allowCopy=true"]);
    let operator = world.operator(&[]);
    let project = world.project("killed");
    base(&world, &project);
    operator.kill(world.cluster);
    for strategy in ["Regenerate", "Copy"] {
        let asked = world.requests().len();
        let name = strategy.to_lowercase();
        let clone = project.environment(&name).with("baseFrom", clone_of("dev", strategy)).create();
        let mut kills = 0;
        loop {
            let mut operator = Operator::spawn(world.cluster);
            let writes = |world: &World| {
                let by_operator = |entry: &&serde_json::Value| {
                    let name = entry["auth"]["display_name"].as_str().unwrap_or_default();
                    let operation = entry["request"]["operation"].as_str().unwrap_or_default();
                    let changes = ["create", "update", "delete"].contains(&operation);
                    entry["type"] == "response" && changes && name.contains("environment-manager")
                };
                world.requests().iter().skip(asked).filter(by_operator).count()
            };
            let before = writes(&world);
            let done = eventually("a write to Vault, or the end", || {
                assert!(operator.try_wait().is_none());
                let said = clone.get()?["status"]["conditions"].to_string();
                let ready = said.contains("\"SecretsReady\"") && clone.is_ready();
                (writes(&world) > before || ready).then_some(ready)
            });
            // What it asks next is answered after its end, or never.
            if kills % 2 == 1 {
                world.bao.pause().unwrap();
            }
            operator.kill(world.cluster);
            world.bao.resume().unwrap();
            if done {
                break;
            }
            kills += 1;
            assert!(kills < 30, "it does not come to an end");
        }
        assert!(kills >= 2, "{strategy}: it was killed {kills} times: policy, role and secret are writes of their own");
        let path = format!("{}/payments", place(&clone).prefix);
        let metadata = world.bao.as_root().json(["kv", "metadata", "get", "-mount=kv", &path]).unwrap();
        assert_eq!(metadata["data"]["current_version"], 1, "{metadata}");
        if strategy == "Copy" {
            assert_eq!(world.values(&path), json!({"api_key": "dev-value", "webhook": "dev-hook"}));
        }
        println!("{strategy}: killed {kills} times; one version of the secret");
    }
    let _operator = world.operator(&[]);
    eventually("the end of what copying left", || {
        let list = |args: [&str; 2]| world.bao.as_root().run(args).unwrap();
        let left = [list(["list", "sys/policies/acl"]), list(["list", "auth/kubernetes/role"])].concat();
        (!left.contains("pf-copy-")).then_some(())
    });
}
