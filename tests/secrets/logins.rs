//! How the operator itself logs in, and what it makes of a login that ends and of a server that it does not know.

use crate::{
    support::{Operator, eventually},
    world::{World, clone_of, place},
};

/// What says how to log in, among the operator's arguments.
const LOGIN: [&str; 4] = ["--vault-login-method=", "--vault-login-path=", "--vault-login-role=", "--vault-token-file="];

fn world(name: &str) -> World {
    World::start(name, &["--set", "secretsOperator.kind=none"])
}

#[test]
fn an_app_role_does_and_a_login_that_ends_is_made_anew_without_a_word() {
    let world = world("approle");
    let root = world.bao.as_root();
    // It ends for good after two seconds, and is renewed in vain before.
    let role =
        ["write", "auth/approle/role/operator", "token_policies=environment-manager", "token_no_default_policy=true"];
    root.run(role.into_iter().chain(["token_ttl=2s", "token_max_ttl=2s"])).unwrap();
    let id = root.json(["read", "auth/approle/role/operator/role-id"]).unwrap()["data"]["role_id"].clone();
    let secret = root.json(["write", "-force", "auth/approle/role/operator/secret-id"]).unwrap();
    let id = world.file("role-id", id.as_str().unwrap());
    let secret = world.file("secret-id", secret["data"]["secret_id"].as_str().unwrap());
    let files =
        [format!("--vault-role-id-file={}", id.display()), format!("--vault-secret-id-file={}", secret.display())];
    let _operator = world.operator_with(&LOGIN, &["--vault-login-method=approle", &files[0], &files[1]]);
    let project = world.project("approle");
    let environments: Vec<_> = (0..4)
        .map(|number| {
            let before = logins(&world);
            let environment = project.environment(&format!("e-{number}")).ready();
            // Only when its login has ended comes the next one, and only who asks finds out.
            let mut asked = 0;
            eventually("the operator to log in anew", || {
                environment.annotate("platform.puraify.app/look-into-vault", &asked.to_string());
                asked += 1;
                (logins(&world) > before).then_some(())
            });
            environment
        })
        .collect();
    for environment in &environments {
        environment.wait_ready();
        let told = environment.events();
        assert!(!told.iter().any(|(reason, _)| reason.starts_with("Vault")), "{told:?}");
    }
}

/// How often somebody has logged in by `AppRole`.
fn logins(world: &World) -> usize {
    let login = |entry: &&serde_json::Value| {
        entry["type"] == "response" && entry["request"]["path"] == "auth/approle/login" && entry["error"].is_null()
    };
    world.requests().iter().filter(login).count()
}

#[test]
fn a_token_that_somebody_else_renews_does_and_is_read_anew_when_it_is_refused() {
    let world = world("token");
    let root = world.bao.as_root();
    let token = || {
        let made =
            root.json(["token", "create", "-policy=environment-manager", "-no-default-policy", "-ttl=1h"]).unwrap();
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    };
    let first = token();
    let file = world.file("operators-token", &first);
    let operator =
        world.operator_with(&LOGIN, &["--vault-login-method=token", &format!("--vault-token-file={}", file.display())]);
    let project = world.project("token");
    let one = project.environment("one").ready();
    world.file("operators-token", &token());
    root.run(["token", "revoke", &first]).unwrap();
    let two = project.environment("two").ready();
    for environment in [one, two] {
        assert!(!environment.events().iter().any(|(reason, _)| reason.starts_with("Vault")));
    }
    assert!(operator.terminate().success());
    // The mount is another one, and of version 1.
    root.run(["secrets", "enable", "-path=old", "-version=1", "kv"]).unwrap();
    world.bao.write_policy("environment-manager", &Operator::prints(&["vault-policy", "--vault-mount=old"])).unwrap();
    let other = [&LOGIN[..], &["--vault-mount="]].concat();
    let _operator = world.operator_with(
        &other,
        &["--vault-login-method=token", &format!("--vault-token-file={}", file.display()), "--vault-mount=old"],
    );
    let message = project.environment("three").create().wait_said("SecretsReady", "VaultRefused");
    assert!(message.contains("no KV engine of version 2 at old") && message.contains("vault.mount"), "{message}");
    // A token of its own it ends; one of somebody else's it does not.
    let revoked = |entry: &serde_json::Value| entry["request"]["path"] == "auth/token/revoke-self";
    assert!(!world.requests().iter().any(revoked));
}

#[test]
fn a_server_of_an_unknown_authority_gets_nothing_and_the_right_one_is_taken_up_by_a_restart() {
    let world = world("authority");
    let root = world.bao.as_root();
    root.run(["secrets", "enable", "pki"]).unwrap();
    let other = root.run(["write", "-field=certificate", "pki/root/generate/internal", "common_name=other"]).unwrap();
    let file = world.file("authority.pem", &other);
    let ca = format!("--vault-ca-file={}", file.display());
    let operator = world.operator_with(&["--vault-ca-file="], &[&ca]);
    let project = world.project("authority");
    let before = world.requests().len();
    let dev = project.environment("dev").create();
    let message = dev.wait_said("SecretsReady", "VaultUnavailable");
    assert!(message.contains("certificate"), "{message}");
    assert_eq!(world.requests().len(), before, "not even the operator's token was sent");
    world.file("authority.pem", &std::fs::read_to_string(world.bao.ca_file()).unwrap());
    // It stands in objects of every environment: so all begins anew.
    assert!(!operator.wait_end().success());
    let _operator = world.operator_with(&["--vault-ca-file="], &[&ca]);
    dev.wait_ready();
}

#[test]
fn a_namespace_of_vault_holds_all_of_it_and_is_well_when_vault_is() {
    let world = world("namespace");
    let (root, plane) = (world.bao.as_root(), world.cluster.plane());
    root.run(["namespace", "create", "team"]).unwrap();
    let within = |args: &[&str]| {
        let all: Vec<&str> = args.iter().copied().chain(["-namespace=team"]).collect();
        // Flags come before what they are for.
        let (first, rest) = all.split_at(1);
        let (verb, rest) =
            if ["secrets", "auth", "policy", "kv"].contains(&first[0]) { rest.split_at(1) } else { rest.split_at(0) };
        let (flags, rest): (Vec<&str>, Vec<&str>) =
            rest.iter().copied().partition(|arg| arg.starts_with('-') && *arg != "-");
        root.run([first, verb, &flags[..], &rest[..]].concat()).unwrap()
    };
    within(&["secrets", "enable", "-path=kv", "-version=2", "kv"]);
    within(&["auth", "enable", "kubernetes"]);
    let reviewer = plane.service_account_token("openbao", "openbao", &[]).unwrap();
    within(&[
        "write",
        "auth/kubernetes/config",
        &format!("kubernetes_host={}", plane.server_url()),
        &format!("kubernetes_ca_cert={}", plane.ca_pem()),
        "disable_local_ca_jwt=true",
        &format!("token_reviewer_jwt={reviewer}"),
    ]);
    let password = world.file("password.hcl", "length = 32\nrule \"charset\" {\n  charset = \"abcdef\"\n}\n");
    within(&["write", "sys/policies/password/pf", &format!("policy=@{}", password.display())]);
    let policy = world.file("policy.hcl", &Operator::prints(&["vault-policy"]));
    within(&["policy", "write", "environment-manager", policy.to_str().unwrap()]);
    within(&[
        "write",
        "auth/kubernetes/role/environment-manager",
        "bound_service_account_names=environment-manager",
        "bound_service_account_namespaces=environment-manager",
        "audience=vault",
        "token_policies=environment-manager",
        "token_no_default_policy=true",
        "token_ttl=15m",
    ]);
    let _operator = world.operator(&["--vault-namespace=team"]);
    let project = world.project("namespace");
    project.version("v1.0.0");
    let dev = project.environment("dev").starting_with("v1.0.0").secret("A", "a", "k").create();
    let own = place(&dev);
    within(&["kv", "put", "-mount=kv", &format!("{}/a", own.prefix), "k=1"]);
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    dev.wait_ready();
    project.environment("clone").with("baseFrom", clone_of("dev", "Regenerate")).ready();
    let outside = root.run(["policy", "list"]).unwrap();
    assert!(within(&["policy", "list"]).contains(&own.role) && !outside.contains(&own.role), "{outside}");
    // It is asked outside of the namespace whether it is well, and goes on when it is.
    world.bao.stop().unwrap();
    dev.annotate("platform.puraify.app/look-into-vault", "2");
    dev.wait_said("SecretsReady", "VaultUnavailable");
    world.bao.start_again().unwrap();
    dev.wait_condition("SecretsReady", "AsIntended");
    dev.delete();
    dev.wait_gone();
    assert!(!within(&["policy", "list"]).contains(&own.role));
}
