//! No value is anywhere but in Vault: searched in all that the cluster and the operator ever wrote down.

use serde_json::json;

use crate::{
    support::eventually,
    world::{World, clone_of, place},
};

/// A value that is easily found.
const CANARY: &str = "canary-4f1d0a7e93";

/// Where a text stands.
fn found(places: &[(String, Vec<u8>)], text: &str) -> Vec<String> {
    let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    places.iter().filter(|(_, bytes)| has(bytes)).map(|(place, _)| place.clone()).collect()
}

/// What looks like a token of Vault: `s.` or `b.` and at least 24 letters and digits
/// (<https://openbao.org/docs/concepts/tokens/#token-prefixes>).
fn token_in(text: &str) -> Option<&str> {
    let is_token = |word: &&str| {
        let rest = word.strip_prefix("s.").or_else(|| word.strip_prefix("b."));
        rest.is_some_and(|rest| {
            rest.len() >= 24 && rest.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
        })
    };
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"._-".contains(letter)).find(is_token)
}

#[test]
fn a_value_is_found_nowhere_but_in_vault_and_a_planted_one_is_found() {
    let helm = [
        "--set",
        "secretsOperator.kind=external-secrets",
        "--set",
        "vault.allowCopy=true",
        "--set",
        "operator.logLevel=trace",
    ];
    let world = World::start("canary", &helm);
    let operator = world.operator(&[]);
    let project = world.project("canary");
    project.version("v1.0.0");
    let dev = project.environment("dev").class("Development").starting_with("v1.0.0").secret("A", "a", "k").create();
    let path = |environment: &crate::support::Environment<'_>| format!("{}/a", place(environment).prefix);
    world.put(&path(&dev), "k", CANARY);
    dev.annotate("platform.puraify.app/look-into-vault", "1");
    dev.wait_ready();
    // Through the operator: copied, generated, and refused in the middle.
    let copied = project.environment("copied").with("baseFrom", clone_of("dev", "Copy")).ready();
    assert_eq!(world.values(&path(&copied))["k"], CANARY);
    let made = project.environment("made").with("baseFrom", clone_of("dev", "Regenerate")).ready();
    // All but making a secret: the value is read, and cannot be written.
    let policy = crate::support::Operator::prints(&["vault-policy"]);
    let without = policy.replacen(r#"capabilities = ["create"]"#, r#"capabilities = ["deny"]"#, 1);
    assert_ne!(policy, without);
    world.bao.write_policy("environment-manager", &without).unwrap();
    let refused = project.environment("refused").with("baseFrom", clone_of("dev", "Copy")).create();
    let message = refused.wait_said("SecretsReady", "VaultRefused");
    assert!(message.contains("make the secret"), "{message}");
    let metrics = operator.get("/metrics").unwrap();
    assert!(metrics.contains("environment_manager_vault_requests_total"), "{metrics}");
    assert!(operator.terminate().success());

    let token = std::fs::read_to_string(world.cluster.dir().join("vault-token")).unwrap();
    let generated = world.values(&path(&made))["k"].as_str().unwrap().to_owned();
    let mut places = world.places();
    places.push(("metrics".to_owned(), metrics.into_bytes()));
    for kind in ["events", "penv", "erev", "externalsecrets", "secretstores", "configmaps"] {
        let text = world.cluster.kubectl().run(["get", kind, "--all-namespaces", "--output", "yaml"]).unwrap();
        places.push((format!("kubectl get {kind}"), text.into_bytes()));
    }
    let sorts: std::collections::BTreeSet<&str> = places
        .iter()
        .map(|(place, _)| if place.contains("/etcd/") { "etcd" } else { place.rsplit('/').next().unwrap() })
        .collect();
    println!("searched {} places: {sorts:?}", places.len());
    for sort in ["etcd", "environment-manager.log", "kube-apiserver.log", "metrics", "kubectl get events"] {
        assert!(sorts.contains(sort), "{sort} was not searched: {sorts:?}");
    }
    assert!(places.iter().any(|(place, _)| place == &world.cluster.audit_log().display().to_string()));
    for value in [CANARY, generated.as_str()] {
        assert_eq!(found(&places, value), Vec::<String>::new(), "a value is written down");
    }
    // Nor is a token of Vault, the operator's own or one with which it copied.
    let root = format!("headers: {{\"x-vault-token\": \"{}\"}}", world.bao.root_token());
    assert_eq!(token_in(&root), Some(world.bao.root_token()), "it would be found");
    for (place, bytes) in places.iter().filter(|(place, _)| !place.contains("/etcd/")) {
        assert_eq!(token_in(&String::from_utf8_lossy(bytes)), None, "a token is in {place}");
    }
    // The operator's own login is in the file that it is read from, and nowhere else.
    let signature = token.rsplit('.').next().unwrap();
    assert!(
        found(&places, signature).iter().all(|place| place.ends_with("/vault-token")),
        "{:?}",
        found(&places, signature)
    );

    // It would have been found.
    project.create(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "planted", "namespace": project.namespace()}, "data": {"a": CANARY},
    }));
    let at = eventually("the planted one", || {
        let at = found(&world.places(), CANARY);
        (!at.is_empty()).then_some(at)
    });
    println!("the planted one is in {at:?}");
    assert!(at.iter().all(|place| place.contains("/etcd/")));
}
