//! The objects that a secrets operator executes: accepted by those projects' real kinds, complete, and nobody else's.

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
    assert_eq!(vault["auth"]["kubernetes"]["serviceAccountRef"], json!({"name": "vault", "audiences": ["vault"]}));
    assert!(vault["caBundle"].is_string());
    let secret = dev.live()["status"]["secrets"][0]["secret"].as_str().unwrap().to_owned();
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
fn the_vault_secrets_operator_is_found_by_its_kinds_and_gets_its_objects() {
    let world = World::start("vso", &["--set", "secretsOperator.kind=vault-secrets"]);
    let project = world.project("vso");
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
