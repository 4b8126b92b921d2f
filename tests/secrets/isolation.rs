//! No environment reads another one's secrets: tried with real tokens, for every pair and with every trick.

use crate::{
    support::Environment,
    world::{Place, World, place, refused},
};

/// An environment with a secret.
fn with_secret<'project>(
    world: &World,
    project: &'project crate::support::Project,
    name: &str,
) -> Environment<'project> {
    let environment = project.environment(name).secret("API_KEY", "payments", "api_key").create();
    world.put(&format!("{}/payments", place(&environment).prefix), "api_key", name);
    environment.annotate("platform.puraify.app/look-into-vault", "1");
    environment.wait_ready();
    environment
}

#[test]
fn no_environment_reads_lists_writes_or_logs_in_to_another_one() {
    let world = World::shared();
    let projects = [world.project("shop"), world.project("bank")];
    // `dev` must not reach `dev-2`, though one name begins with the other.
    let names = ["dev", "dev-2", "staging"];
    let environments: Vec<Environment<'_>> =
        projects.iter().flat_map(|project| names.map(|name| with_secret(world, project, name))).collect();
    let attempts = std::cell::Cell::new(0);
    for one in &environments {
        let token = world.login(one);
        let bao = world.bao.with_token(token.clone());
        let own = place(one).prefix;
        let value = bao.json(["kv", "get", "-mount=kv", &format!("{own}/payments")]).unwrap();
        assert_eq!(value["data"]["data"]["api_key"], one.name());
        let (status, text) = world.asked(&token, &format!("kv/data/{own}/payments"));
        assert!(status == 200 && text.contains(one.name()), "what tricks are sent with does read: {status} {text}");
        let refuse = |args: &[&str]| {
            refused(&bao, args);
            attempts.set(attempts.get() + 1);
        };
        // Its own, otherwise than by reading.
        refuse(&["kv", "put", "-mount=kv", &format!("{own}/payments"), "api_key=x"]);
        refuse(&["kv", "list", "-mount=kv", &own]);
        refuse(&["kv", "metadata", "get", "-mount=kv", &format!("{own}/payments")]);
        refuse(&["kv", "delete", "-mount=kv", &format!("{own}/payments")]);
        for path in [
            "sys/policies/acl",
            "sys/auth",
            "sys/mounts",
            "sys/policies/acl/environment-manager",
            "auth/kubernetes/role",
        ] {
            refuse(&["read", path]);
        }
        refuse(&["list", "auth/kubernetes/role"]);
        refuse(&["token", "create", "-policy=root"]);
        refuse(&["write", "sys/policies/acl/pf-x", "policy=path \"*\" { capabilities = [\"sudo\"] }"]);
        for other in environments.iter().filter(|other| other.namespace() != one.namespace()) {
            let Place { prefix, role, audience } = place(other);
            let path = format!("{prefix}/payments");
            refuse(&["kv", "get", "-mount=kv", &path]);
            refuse(&["kv", "put", "-mount=kv", &path, "api_key=x"]);
            refuse(&["kv", "list", "-mount=kv", &prefix]);
            refuse(&["kv", "delete", "-mount=kv", &path]);
            let plane = world.cluster.plane();
            let forged = plane.service_account_token(&one.namespace(), "vault", &[&audience]).unwrap();
            for jwt in [world.jwt(one), forged] {
                assert!(world.bao.login("kubernetes", &role, &jwt).is_err(), "{} logs in as {role}", one.name());
                attempts.set(attempts.get() + 1);
            }
            for trick in tricks(&own, &prefix) {
                let (status, text) = world.asked(&token, &trick);
                println!("{status} {trick}");
                assert!(is_refused(status), "{} reads {trick}: {status} {text}", one.name());
                attempts.set(attempts.get() + 1);
            }
        }
    }
    println!("{} environments, {} attempts, 0 succeeded", environments.len(), attempts.get());
}

/// For want of a right; or as a path that means nothing, or another one that it is sent to and would be refused at.
fn is_refused(status: u16) -> bool {
    [403, 400, 301, 307].contains(&status)
}

/// Paths that might mean another one's.
fn tricks(own: &str, other: &str) -> Vec<String> {
    let up = "../".repeat(2);
    vec![
        format!("kv/data/{own}/{up}{}/payments", other.trim_start_matches("pf/")),
        format!("kv/data/{own}/..%2f..%2f{}/payments", other.trim_start_matches("pf/")),
        format!("kv/data/{own}/%2e%2e/%2e%2e/{}/payments", other.trim_start_matches("pf/")),
        format!("kv/data/{}/payments", other.replace('/', "%2f")),
        format!("kv//data//{other}//payments"),
        format!("kv/data/{other}"),
        "kv/data/pf/*".to_owned(),
        "kv/data/pf/+/payments".to_owned(),
        format!("kv/subkeys/{other}/payments"),
        format!("kv/metadata/{other}/payments"),
    ]
}

#[test]
fn a_token_for_another_audience_or_of_another_service_account_does_not_log_in() {
    let world = World::shared();
    let project = world.project("audience");
    let dev = with_secret(world, &project, "dev");
    let plane = world.cluster.plane();
    let Place { role, audience, .. } = place(&dev);
    let token =
        |account: &str, audiences: &[&str]| plane.service_account_token(&dev.namespace(), account, audiences).unwrap();
    let wrong = [token("vault", &[]), token("vault", &["vault"]), token("workload", &[&audience])];
    for jwt in wrong {
        assert!(world.bao.login("kubernetes", &role, &jwt).is_err());
    }
    world.bao.login("kubernetes", &role, &token("vault", &[&audience])).unwrap();
}

#[test]
fn no_pod_runs_as_the_one_that_reads_secrets() {
    let world = World::shared();
    let project = world.project("pods");
    let dev = project.environment("dev").ready();
    let pod = |account: &str| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "namespace": dev.namespace()},
            "spec": {"serviceAccountName": account, "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                     "containers": [{"name": "c", "image": "c", "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}},
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]},
        })
        .to_string()
    };
    let refusal = world.cluster.kubectl().create(&pod("vault")).unwrap_err().to_string();
    assert!(refusal.contains("no pod runs as it"), "{refusal}");
    world.cluster.kubectl().create(&pod("workload")).unwrap();
}
