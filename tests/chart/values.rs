//! What the chart renders: as the generated files have it, and by the rules of good manners that linters check.

use std::{fmt::Write as _, process::Stdio};

use devcluster::Toolbox;
use serde_json::Value;

use crate::support::chart::{CHART, NAME, NAMESPACE};

/// A cluster of today.
pub const TODAY: [&str; 4] =
    ["--kube-version", "1.36.3", "--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"];

pub fn helm(args: &[&str], set: &[&str]) -> Result<String, String> {
    let mut command = std::process::Command::new(Toolbox::from_env().unwrap().helm().unwrap());
    command.args(args);
    for value in set {
        command.args(["--set", value]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn rendered(set: &[&str]) -> String {
    helm(&[&["template", NAME, CHART, "--namespace", NAMESPACE][..], &TODAY].concat(), set).unwrap()
}

/// The objects that were rendered.
fn objects(set: &[&str]) -> Vec<Value> {
    let text = rendered(set);
    let documents = text.split("\n---").filter(|document| document.contains("\nkind: "));
    documents.map(|document| serde_saphyr::from_str(document.trim_start_matches("---")).unwrap()).collect()
}

/// A generated file is what the chart makes of it. `UPDATE=1 cargo test --test chart values` rewrites it.
fn check(file: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, expected).unwrap();
    }
    let same = std::fs::read_to_string(file).is_ok_and(|stored| stored == expected);
    assert!(same, "{file} is out of date: run `UPDATE=1 cargo test --test chart values`");
}

#[test]
fn the_plain_manifests_are_those_of_the_chart() {
    let text = rendered(&["crds.install=false"]);
    let documents = text.split("---\n").filter(|document| document.contains("\nkind: "));
    // The test is a hook, and the namespace is helm's to make.
    let documents: Vec<&str> = documents.filter(|document| !document.contains("helm.sh/hook: test")).collect();
    let head = format!(
        "# Generated from charts/environment-manager; do not edit. Install the kinds (crds/) with it:\n\
         # kubectl apply --server-side --filename crds --filename deploy\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: \
         {NAMESPACE}\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n"
    );
    check("deploy/environment-manager.yaml", &format!("{head}---\n{}", documents.join("---\n")));
}

#[test]
fn the_roles_are_listed_verb_by_verb() {
    let mut page = "# The roles, verb by verb\n\n\
        Generated from the chart; do not edit. Rewrite it with `UPDATE=1 cargo test --test chart values`.\n\
        [Give people rights](../how-to/give-people-rights.md) says what they are for and what the verbs mean.\n"
        .to_owned();
    let words = |list: &Value| {
        let words = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    };
    let guide = std::fs::read_to_string("docs/how-to/give-people-rights.md").unwrap();
    for role in objects(&[]).iter().filter(|object| object["kind"] == "ClusterRole") {
        let name = role["metadata"]["name"].as_str().unwrap();
        if name == NAME {
            continue;
        }
        assert!(
            guide.contains(&format!("| `{name}` |")),
            "docs/how-to/give-people-rights.md does not say what {name} is for"
        );
        writeln!(page, "\n## {name}\n\n| Resources | Verbs |\n|---|---|").unwrap();
        for rule in role["rules"].as_array().unwrap() {
            let only = words(&rule["resourceNames"]);
            let only = if only.is_empty() { only } else { format!(", only {only}") };
            writeln!(page, "| {}{only} | {} |", words(&rule["resources"]), words(&rule["verbs"])).unwrap();
        }
    }
    check("docs/reference/roles.md", &page);
}

#[test]
fn helm_finds_nothing_to_say_about_it() {
    let said = helm(&["lint", "--strict", CHART], &[]).unwrap();
    assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{said}");
}

#[test]
fn nonsense_is_refused_with_the_field_and_what_it_should_be() {
    for (set, words) in [
        ("replicas=0", "/replicas"),
        ("replicas=two", "/replicas"),
        ("replica=2", "additional properties 'replica' not allowed"),
        ("operator.concurrency=0", "/operator/concurrency"),
        ("operator.reconcileTimeout=soon", "/operator/reconcileTimeout"),
        ("operator.urlTemplate=https://example.com", "/operator/urlTemplate"),
        ("operator.urlTemplate=https://example.com/{environment}", "/operator/urlTemplate"),
        ("operator.reconcileTimeout=0s", "/operator/reconcileTimeout"),
        ("vault.checkInterval=25h", "/vault/checkInterval"),
        ("vault.checkInterval=24h1s", "/vault/checkInterval"),
        ("vault.checkInterval=0m0s", "/vault/checkInterval"),
        ("podLabels.app\\.kubernetes\\.io/name=x", "/podLabels"),
        ("operator.allowedClusterRoles={*}", "/operator/allowedClusterRoles"),
        ("operator.allowedClusterRoles={system:masters}", "/operator/allowedClusterRoles"),
        ("operator.gateways.public=In Valid", "/operator/gateways"),
        ("operator.gateways.Foo_Bar=x", "/operator/gateways"),
        ("operator.logLevel=verbose", "/operator/logLevel"),
        ("operator.extraArgs={--namespace=x}", "/operator/extraArgs"),
        ("operator.logFormat=xml", "value must be one of"),
        ("operator.extraArgs={rm}", "/operator/extraArgs"),
        ("image.digest=latest", "/image/digest"),
        ("crds.keep=maybe", "/crds/keep"),
        ("roles.builderEnvironments={*}", "/roles/builderEnvironments"),
        ("networkPolicy.apiServerPorts={0}", "/networkPolicy/apiServerPorts"),
        ("metrics.serviceMonitor.interval=1", "/metrics/serviceMonitor/interval"),
    ] {
        let error = helm(&["template", NAME, CHART], &[set]).unwrap_err();
        assert!(error.contains(words), "{set}: {error}");
    }
    let error =
        helm(&["template", NAME, CHART], &["metrics.service=false", "metrics.serviceMonitor.create=true"]).unwrap_err();
    assert!(error.contains("needs metrics.service"), "{error}");
}

#[test]
fn monitoring_is_rendered_where_it_is_asked_for() {
    let all =
        ["metrics.serviceMonitor.create=true", "metrics.prometheusRule.create=true", "metrics.dashboard.create=true"];
    let objects = objects(&all);
    let one = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let metrics = std::fs::read_to_string("docs/operations.md").unwrap();
    let rules = one("PrometheusRule")["spec"]["groups"][0]["rules"].as_array().unwrap().clone();
    let dashboard =
        objects.iter().find(|object| object["metadata"]["name"] == "environment-manager-dashboard").unwrap();
    let dashboard = dashboard["data"]["environment-manager.json"].as_str().unwrap();
    serde_json::from_str::<Value>(dashboard).unwrap();
    let queries: Vec<String> =
        rules.iter().map(|rule| rule["expr"].to_string()).chain([dashboard.to_owned()]).collect();
    let text = queries.join("\n");
    let names = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    for name in names.filter(|word| word.starts_with("environment_manager_")) {
        let base = name.trim_end_matches("_bucket");
        assert!(metrics.contains(base), "{name} is no metric that docs/operations.md lists");
    }
    assert_eq!(one("ServiceMonitor")["spec"]["endpoints"][0]["path"], "/metrics");
}

/// What kube-linter, checkov and Pod Security restricted ask of a pod.
#[test]
fn its_pods_are_confined_and_its_roles_are_narrow() {
    let objects = objects(&[]);
    let mut pods = 0;
    for object in &objects {
        let spec = match object["kind"].as_str().unwrap() {
            "Deployment" => &object["spec"]["template"]["spec"],
            "Pod" => &object["spec"],
            _ => continue,
        };
        pods += 1;
        let container = &spec["containers"][0];
        let confined = &container["securityContext"];
        assert_eq!(confined["allowPrivilegeEscalation"], false);
        assert_eq!(confined["readOnlyRootFilesystem"], true);
        assert_eq!(confined["runAsNonRoot"], true);
        assert!(confined["runAsUser"].as_u64().unwrap() >= 10_000);
        assert_eq!(confined["capabilities"]["drop"][0], "ALL");
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(spec["enableServiceLinks"], false);
        for field in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
            assert!(spec[field].is_null(), "{field}");
        }
        assert!(
            container["resources"]["requests"]["cpu"].is_string()
                && container["resources"]["limits"]["memory"].is_string()
        );
        let image = container["image"].as_str().unwrap();
        assert!(image.contains(':') && !image.ends_with(":latest"), "{image}");
    }
    assert_eq!(pods, 2, "the operator and the test");
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert!(container["livenessProbe"].is_object() && container["readinessProbe"].is_object());
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert!(deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"].is_object());

    for role in objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role") {
        let rules = role["rules"].to_string();
        for word in ["\"*\"", "secrets", "escalate", "impersonate", "pods"] {
            assert!(!rules.contains(word), "{} has {word}", role["metadata"]["name"]);
        }
    }
    for object in &objects {
        let labels = &object["metadata"]["labels"];
        for label in ["name", "instance", "version", "component", "part-of", "managed-by"] {
            assert!(
                labels[format!("app.kubernetes.io/{label}")].is_string(),
                "{} has no {label}",
                object["metadata"]["name"]
            );
        }
    }
    let webhooks = objects.iter().filter(|object| object["kind"].as_str().unwrap().contains("Webhook")).count();
    assert_eq!(webhooks, 0);
}

/// One that cannot be evaluated refuses; none of them only warns.
#[test]
fn every_policy_fails_closed_and_denies() {
    let objects = objects(&[]);
    let of = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    let policies = of("ValidatingAdmissionPolicy");
    assert_eq!(policies.len(), 7);
    for policy in policies.iter().chain(&of("MutatingAdmissionPolicy")) {
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{}", policy["metadata"]["name"]);
    }
    for binding in of("ValidatingAdmissionPolicyBinding") {
        assert_eq!(binding["spec"]["validationActions"], serde_json::json!(["Deny"]));
        assert!(binding["spec"]["matchResources"].is_null(), "it holds everywhere");
    }
}
