//! The objects that a secrets operator executes: accepted by those projects' real kinds, complete, and nobody else's.

use devcluster::Toolbox;
use serde_json::json;

use crate::{
    support::{Operator, eventually},
    world::{World, place},
};

#[test]
fn external_secrets_gets_a_store_and_one_object_for_each_path() {
    let world = World::shared();
    let project = world.project("eso");
    let dev =
        project.environment("dev").secret("API_KEY", "payments", "api_key").secret("OTHER", "other", "k").create();
    let prefix = place(&dev).prefix;
    world.put(&format!("{prefix}/payments"), "api_key", "x");
    world.put(&format!("{prefix}/other"), "k", "y");
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    dev.wait_ready();
    let kubectl = world.cluster.kubectl();
    let get = |kind: &str, name: &str| kubectl.json(["get", kind, name, "--namespace", &dev.namespace()]).unwrap();
    let vault = &get("secretstore", "vault")["spec"]["provider"]["vault"];
    assert_eq!(vault["auth"]["kubernetes"]["role"], place(&dev).role.as_str());
    assert_eq!(
        vault["auth"]["kubernetes"]["serviceAccountRef"],
        json!({"name": "vault", "audiences": [place(&dev).audience]})
    );
    assert!(vault["caBundle"].is_string());
    let secret = dev.live()["status"]["secrets"][0]["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret, "secret-payments", "as in every environment");
    let external = &get("externalsecret", &secret)["spec"];
    assert_eq!(external["data"][0]["secretKey"], "API_KEY");
    assert_eq!(external["data"][0]["remoteRef"]["key"], format!("{prefix}/payments").as_str());
    let binding = get("rolebinding", "vault-token");
    assert_eq!(binding["roleRef"]["name"], "environment-manager-vault-token");
    assert_eq!(binding["subjects"][0]["name"], "external-secrets");
    // External Secrets may ask for tokens of this ServiceAccount, and of no other.
    let may = |account: &str| {
        let account = format!("serviceaccounts/{account}");
        let as_it = "--as=system:serviceaccount:external-secrets:external-secrets";
        let args = ["auth", "can-i", "create", &account, "--subresource=token", as_it, "--namespace", &dev.namespace()];
        kubectl.output(args).unwrap().status.success()
    };
    assert!(may("vault") && !may("workload"));

    dev.edit_and_wait(
        &json!({"config": {"variables": [{"name": "API_KEY", "vault": {"path": "payments", "key": "api_key"}}]}}),
    );
    eventually("the end of what nothing refers to", || {
        let list = kubectl.json(["get", "externalsecret", "--namespace", &dev.namespace()]).unwrap();
        (list["items"].as_array().unwrap().len() == 1).then_some(())
    });
    dev.delete();
    dev.wait_gone();
}

#[test]
fn access_ends_although_a_secrets_operator_does_not_let_its_object_go_and_it_is_said_what_holds() {
    let world = World::shared();
    let project = world.project("held");
    let dev = project.environment("dev").secret("A", "a", "k").create();
    let place = place(&dev);
    world.put(&format!("{}/a", place.prefix), "k", "x");
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    dev.wait_ready();
    let name = dev.live()["status"]["secrets"][0]["secret"].as_str().unwrap().to_owned();
    let namespace = dev.namespace();
    let finalizers = |value: &str| {
        let patch = format!(r#"{{"metadata": {{"finalizers": {value}}}}}"#);
        let args = ["patch", "externalsecret", &name, "--namespace", &namespace, "--type=merge", "--patch", &patch];
        world.cluster.kubectl().run(args).unwrap();
    };
    finalizers(r#"["externalsecrets.external-secrets.io/externalsecret-cleanup"]"#);
    dev.delete();
    let message = dev.wait_said("Ready", "ForeignFinalizer");
    assert!(message.contains("externalsecret-cleanup"), "{message}");
    assert!(world.bao.as_root().run(["policy", "read", &place.role]).is_err(), "nobody has access any more");
    finalizers("null");
    dev.wait_gone();
}

#[test]
fn the_vault_secrets_operator_is_found_by_its_kinds_and_gets_its_objects() {
    let world = World::start("vso", &["--set", "secretsOperator.kind=auto"]);
    let project = world.project("vso");
    // External Secrets comes first, as long as its kinds are there.
    let before = Operator::start(world.cluster);
    let store = project.environment("before").ready();
    world.cluster.kubectl().run(["get", "secretstore", "vault", "--namespace", &store.namespace()]).unwrap();
    for kind in ["externalsecrets", "secretstores"] {
        world.cluster.kubectl().run(["delete", "crd", &format!("{kind}.external-secrets.io")]).unwrap();
    }
    assert!(!before.wait_end().success(), "a restart takes it up");
    let log = std::fs::read_to_string(world.cluster.dir().join("logs/environment-manager.log")).unwrap();
    let said = "the secrets operator was External Secrets (installed), and is the Vault Secrets Operator (installed); a restart takes it up";
    assert!(log.contains(said), "{log}");

    let operator = Operator::start(world.cluster);
    let dev = project.environment("dev").secret("API_KEY", "payments", "api_key").create();
    world.put(&format!("{}/payments", place(&dev).prefix), "api_key", "x");
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    dev.wait_ready();
    let kubectl = world.cluster.kubectl();
    let get = |kind: &str, name: &str| kubectl.json(["get", kind, name, "--namespace", &dev.namespace()]).unwrap();
    assert_eq!(get("vaultauth", "vault")["spec"]["kubernetes"]["role"], place(&dev).role.as_str());
    assert_eq!(get("vaultconnection", "vault")["spec"]["address"], world.bao.address().as_str());
    let name = dev.live()["status"]["secrets"][0]["secret"].as_str().unwrap().to_owned();
    let secret = &get("vaultstaticsecret", &name)["spec"];
    assert_eq!(secret["vaultAuthRef"], "vault");
    assert_eq!(
        secret["destination"]["transformation"]["templates"]["API_KEY"]["text"],
        "{{- get .Secrets \"api_key\" -}}"
    );
    // Somebody takes it away.
    kubectl.run(["delete", "vaultstaticsecret", &name, "--namespace", &dev.namespace()]).unwrap();
    eventually("it to come again", || {
        kubectl.json(["get", "vaultstaticsecret", &name, "--namespace", &dev.namespace()]).ok()
    });
    dev.delete();
    dev.wait_gone();
    assert!(operator.terminate().success());
}

#[test]
fn an_operator_whose_secrets_operator_is_not_installed_serves_everything_else_until_it_is() {
    let world = World::start("absent", &["--set", "secretsOperator.kind=external-secrets"]);
    let kubectl = world.cluster.kubectl();
    for kind in ["externalsecrets", "secretstores"] {
        kubectl.run(["delete", "crd", &format!("{kind}.external-secrets.io")]).unwrap();
    }
    let before = Operator::start(world.cluster);
    let project = world.project("absent");
    project.environment("without").ready();
    let dev = project.environment("dev").secret("API_KEY", "payments", "api_key").create();
    world.put(&format!("{}/payments", place(&dev).prefix), "api_key", "x");
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    let message = dev.wait_said("SecretsReady", "SecretsOperatorMissing");
    assert!(message.contains("External Secrets is not installed"), "{message}");
    // It is installed.
    let kinds = Toolbox::from_env().unwrap().kinds().unwrap();
    kubectl.run(["apply", "--server-side", "--filename", kinds.to_str().unwrap()]).unwrap();
    assert!(!before.wait_end().success(), "a restart takes it up");
    let _operator = Operator::start(world.cluster);
    dev.wait_ready();
    kubectl.run(["get", "secretstore", "vault", "--namespace", &dev.namespace()]).unwrap();
    // What is new was never taken away.
    let told = dev.events();
    assert!(!told.iter().any(|(reason, _)| reason == "DriftRepaired"), "{told:?}");
}
