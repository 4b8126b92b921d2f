//! A new environment: what it consists of, and what people are told.

use serde_json::{Value, json};

use crate::support::{Environment, Project};

#[test]
fn a_new_environment_becomes_ready_with_a_namespace_of_its_own() {
    let project = Project::new("shop");
    let dev = project.environment("dev").class("Development").ready();
    let live = dev.live();
    assert_eq!(live["status"]["namespace"], dev.namespace().as_str());
    assert_eq!(live["status"]["phase"], "Active");
    assert_eq!(live["status"]["observedGeneration"], live["metadata"]["generation"]);
    for condition in ["Ready", "NamespaceReady", "ConfigReady", "Isolated"] {
        assert_eq!(dev.condition(condition).unwrap()["status"], "True", "{condition}");
    }
    let labels = &dev.namespace_object().live()["metadata"]["labels"];
    assert_eq!(labels["platform.puraify.app/environment-uid"], dev.uid().as_str());
    assert_eq!(labels["platform.puraify.app/environment"], "dev");
    assert_eq!(labels["platform.puraify.app/project"], project.namespace());
    assert_eq!(labels["platform.puraify.app/class"], "Development");
    dev.wait_event("Created", &["Revision 1", "no version"]);
}

#[test]
fn the_namespace_enforces_the_pod_security_standard_of_its_class() {
    let project = Project::new("shop");
    let level = |namespace: Value, mode: &str| {
        namespace["metadata"]["labels"][format!("pod-security.kubernetes.io/{mode}")].clone()
    };
    let of =
        [("dev", "Development", "baseline"), ("stg", "Staging", "restricted"), ("prd", "Production", "restricted")];
    for (name, class, standard) in of {
        let environment = project.environment(name).class(class).ready();
        for mode in ["enforce", "audit", "warn"] {
            assert_eq!(level(environment.namespace_object().live(), mode), standard, "{class} {mode}");
        }
    }
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "root", "namespace": project.existing("stg").namespace()},
        "spec": {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]},
    });
    let refusal = project.cluster().kubectl().create(&pod.to_string()).unwrap_err().to_string();
    assert!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");
}

#[test]
fn applications_get_an_account_without_a_token_a_quota_and_limits() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    assert_eq!(staging.child("serviceaccount", "workload").live()["automountServiceAccountToken"], false);
    assert_eq!(
        staging.child("resourcequota", "environment").live()["spec"]["hard"],
        json!({
            "requests.cpu": "8", "requests.memory": "16Gi", "limits.memory": "16Gi", "requests.storage": "100Gi",
            "pods": "100", "services.loadbalancers": "0", "services.nodeports": "0",
        })
    );
    assert_eq!(
        staging.child("limitrange", "environment").live()["spec"]["limits"],
        json!([{
            "type": "Container",
            "default": {"memory": "256Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "256Mi"},
        }])
    );
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "open", "namespace": staging.namespace()},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    });
    staging
        .child("resourcequota", "environment")
        .wait_for("first count", |quota| quota["status"]["used"]["services.nodeports"] == "0");
    let refusal = project.cluster().kubectl().create(&service.to_string()).unwrap_err().to_string();
    assert!(refusal.contains("exceeded quota: environment"), "{refusal}");
}

#[test]
fn traffic_is_denied_but_for_what_the_policies_allow() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let policy = |name: &str| staging.child("networkpolicy", name).live();
    let spec = |name: &str| policy(name)["spec"].take();
    assert_eq!(spec("default-deny"), json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    assert_eq!(
        spec("allow-dns"),
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{
            "to": [{
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }],
            "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
        }]})
    );
    assert_eq!(
        spec("allow-same-namespace"),
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"to": [{"podSelector": {}}]}]})
    );
    let gateway = json!({"matchLabels": {"kubernetes.io/metadata.name": "gateway-system"}});
    assert_eq!(
        spec("allow-gateways"),
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": gateway}]}]})
    );
    for name in ["default-deny", "allow-dns", "allow-same-namespace", "allow-gateways"] {
        let fields = owned_fields(&policy(name));
        for direction in ["f:ingress", "f:egress"] {
            assert!(
                !fields["f:spec"][direction].is_null(),
                "{name}: {direction} is not ours, so a rule could be added"
            );
        }
    }
}

/// The fields of an object that belong to the operator.
fn owned_fields(object: &Value) -> Value {
    let entries = object["metadata"]["managedFields"].as_array();
    // kubectl hides them unless it is told to show them.
    let ours = entries.and_then(|entries| entries.iter().find(|entry| entry["manager"] == "environment-manager"));
    ours.unwrap_or_else(|| panic!("the operator owns nothing of {object:#}"))["fieldsV1"].clone()
}

fn policies(environment: &Environment<'_>) -> Vec<String> {
    let policies = environment.children("networkpolicy");
    policies.iter().map(|policy| policy["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn only_development_may_reach_the_internet_and_then_no_private_address() {
    let project = Project::new("shop");
    let closed = ["allow-dns", "allow-gateways", "allow-same-namespace", "default-deny"];
    for class in ["Staging", "Production"] {
        assert_eq!(policies(&project.environment(&class.to_lowercase()).class(class).ready()), closed, "{class}");
    }
    assert_eq!(policies(&project.environment("demo").preview("1h").ready()), closed);
    let dev = project.environment("dev").class("Development").ready();
    assert_eq!(policies(&dev).len(), closed.len() + 1);
    let to = &dev.child("networkpolicy", "allow-internet").live()["spec"]["egress"][0]["to"];
    assert_eq!(to[0]["ipBlock"]["cidr"], "0.0.0.0/0");
    for private in ["10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"] {
        assert!(to[0]["ipBlock"]["except"].as_array().unwrap().contains(&json!(private)), "{private}");
    }
}

#[test]
fn each_class_brings_its_own_isolation_and_the_status_shows_what_applies() {
    let project = Project::new("shop");
    let isolation = |standard: &str, cpu: &str, memory: &str, storage: &str, pods: u32, internet: bool| {
        json!({
            "podSecurity": standard,
            "quota": {"cpu": cpu, "memory": memory, "storage": storage, "pods": pods},
            "limits": {"defaultCpu": "100m", "defaultMemory": "256Mi"},
            "gateways": ["public"],
            "internet": internet,
        })
    };
    let presets = [
        (project.environment("dev").class("Development"), isolation("baseline", "8", "16Gi", "50Gi", 100, true)),
        (project.environment("stg").class("Staging"), isolation("restricted", "8", "16Gi", "100Gi", 100, false)),
        (project.environment("prd").class("Production"), isolation("restricted", "32", "64Gi", "500Gi", 300, false)),
        (project.environment("demo").preview("1h"), isolation("restricted", "2", "4Gi", "10Gi", 30, false)),
    ];
    for (environment, preset) in presets {
        assert_eq!(environment.ready().live()["status"]["isolation"], preset);
    }
}

#[test]
fn a_refinement_changes_what_it_names_and_nothing_else() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    let mut expected = staging.live()["status"]["isolation"].take();
    let pods = |environment: &Environment<'_>| {
        environment.child("resourcequota", "environment").live()["spec"]["hard"]["pods"].take()
    };
    assert_eq!(pods(&staging), "100");
    staging.edit_and_wait(&json!({"isolation": {
        "podSecurity": "baseline",
        "quota": {"pods": 7},
        "limits": {"defaultMemory": "64Mi"},
        "network": {"gateways": [], "internet": true},
    }}));
    expected["podSecurity"] = json!("baseline");
    expected["quota"]["pods"] = json!(7);
    expected["limits"]["defaultMemory"] = json!("64Mi");
    expected["internet"] = json!(true);
    expected.as_object_mut().unwrap().remove("gateways");
    assert_eq!(staging.live()["status"]["isolation"], expected);
    assert_eq!(pods(&staging), "7");
    let limits = staging.child("limitrange", "environment").live()["spec"]["limits"].take();
    assert_eq!(limits[0]["default"]["memory"], "64Mi");
    let labels = staging.namespace_object().live()["metadata"]["labels"].take();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
    assert_eq!(policies(&staging), ["allow-dns", "allow-internet", "allow-same-namespace", "default-deny"]);
    assert_eq!(staging.history().len(), 1, "isolation is no configuration: no revision is due");

    staging.edit_and_wait(&json!({"isolation": null}));
    assert_eq!(pods(&staging), "100");
    assert_eq!(policies(&staging), ["allow-dns", "allow-gateways", "allow-same-namespace", "default-deny"]);
}

#[test]
fn access_lets_the_named_people_look_into_the_namespace_and_nowhere_else() {
    let project = Project::new("shop");
    let cluster = project.cluster();
    let access = json!([{"role": "view", "users": ["ana"], "groups": ["on-call"], "serviceAccounts": ["robot"]}]);
    let staging = project.environment("staging").with("isolation", json!({"access": access})).ready();
    let binding = staging.child("rolebinding", "access-view").live();
    assert_eq!(
        binding["roleRef"],
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"})
    );
    assert_eq!(staging.live()["status"]["isolation"]["roles"], json!(["view"]));
    let robot = json!({"kind": "ServiceAccount", "name": "robot", "namespace": project.namespace()});
    assert!(binding["subjects"].as_array().unwrap().contains(&robot), "{binding:#}");

    let look = |kubeconfig, namespace: &str| {
        cluster.kubectl_as(kubeconfig).run(["get", "configmap", "release", "--namespace", namespace])
    };
    let other = project.environment("other").ready();
    for (name, group) in [("ana", "builders"), ("zoe", "on-call")] {
        let person = cluster.plane().person(name, &[group]).unwrap();
        crate::support::eventually("access", || look(person.clone(), &staging.namespace()).ok());
        let refusal = look(person, &other.namespace()).unwrap_err().to_string();
        assert!(refusal.contains("Forbidden"), "{refusal}");
    }
    staging.edit_and_wait(&json!({"isolation": null}));
    staging.child("rolebinding", "access-view").wait_gone();
}

#[test]
fn the_release_points_at_variables_and_flags() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project
        .environment("dev")
        .starting_with("v1.4.3")
        .variable("BASE_URL", "https://dev.shop.example")
        .secret("API_KEY", "payments", "api_key")
        .flag("BETA_FORM", true)
        .flag("DARK_MODE", false)
        .ready();
    let status = dev.live()["status"]["release"].take();
    let release = dev.release();
    assert_eq!(
        release,
        json!({
            "project": project.namespace(), "environment": "dev", "revision": "1",
            "version": "v1.4.3", "versionDigest": status["versionDigest"], "configDigest": status["configDigest"],
            "variables": status["variables"], "flags": status["flags"],
        })
    );
    assert_eq!(status["revision"], 1);
    assert_eq!(status["version"], "v1.4.3");
    assert_eq!(dev.variables(), json!({"BASE_URL": "https://dev.shop.example"}), "a reference to a secret is no value");
    let flag =
        |variant: &str| json!({"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": variant});
    assert_eq!(
        dev.flags(),
        json!({
            "$schema": "https://flagd.dev/schema/v0/flags.json",
            "flags": {"BETA_FORM": flag("on"), "DARK_MODE": flag("off")},
        })
    );
    for content in ["variables", "flags"] {
        let name = release[content].as_str().unwrap();
        assert_eq!(dev.child("configmap", name).live()["immutable"], true, "{name}");
    }
}

#[test]
fn no_child_carries_a_label_that_argo_cd_or_flux_would_take_for_theirs() {
    let project = Project::new("shop");
    let staging = project.environment("staging").ready();
    for kind in ["serviceaccount", "resourcequota", "limitrange", "networkpolicy", "configmap"] {
        for child in staging.children(kind) {
            let labels = child["metadata"]["labels"].as_object().unwrap();
            let foreign: Vec<_> = labels.keys().filter(|label| !label.starts_with("platform.puraify.app/")).collect();
            assert_eq!(foreign, Vec::<&String>::new(), "{kind} {}", child["metadata"]["name"]);
        }
    }
}

#[test]
fn kubectl_wait_knows_when_an_environment_is_ready() {
    let project = Project::new("shop");
    project.environment("dev").create();
    project.kubectl(&["wait", "--for=condition=Ready", "penv/dev", "--timeout=45s"]);
    assert_eq!(project.existing("dev").condition("Ready").unwrap()["reason"], json!("AsIntended"));
}

#[test]
fn kubectl_get_shows_class_version_phase_and_readiness() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    project.environment("dev").class("Development").starting_with("v1.4.3").ready();
    let table = project.kubectl(&["get", "penv", "dev"]);
    for word in ["CLASS", "Development", "v1.4.3", "Active", "True"] {
        assert!(table.contains(word), "no {word} in:\n{table}");
    }
}
