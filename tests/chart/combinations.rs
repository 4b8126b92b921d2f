//! What the chart renders for the combinations of all values that its schema names, accepted by a real API server.

use std::{collections::BTreeSet, fs, io::Write as _, process::Stdio, time::Duration};

use devcluster::{ControlPlane, Options, Toolbox, wait_until};
use serde_json::{Value, json};

use super::values::{TODAY, helm};
use crate::support::chart::{CHART, NAME, NAMESPACE};

/// A place in the values, as a JSON pointer, and what is tried there beside the default.
type Choice = (String, Vec<Value>);

/// What is tried where the schema's own words do not say it.
fn samples(pointer: &str) -> Vec<Value> {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let one = match pointer {
        "/global" | "/podLabels" => json!({"team": "platform"}),
        "/image/repository" => json!("registry.example.com/environment-manager"),
        "/image/tag" => json!("1.2.3"),
        "/image/digest" => json!(digest),
        "/imagePullSecrets" => json!([{"name": "registry"}]),
        "/replicas" => return vec![json!(1), json!(10)],
        "/operator/concurrency" => return vec![json!(1), json!(1024)],
        "/operator/reconcileTimeout" => json!("1m30s"),
        "/operator/urlTemplate" => json!("https://{environment}.{project}.example.com"),
        "/operator/allowedClusterRoles" => return vec![json!([]), json!(["view", "edit"])],
        "/operator/gateways" => json!({"public": "ingress", "private": "ingress"}),
        "/operator/logLevel" => json!("debug"),
        "/operator/extraArgs" => json!(["--identity=x"]),
        "/vault/address" => return vec![json!("https://vault.example.com:8200"), json!("https://bao.vault.svc")],
        "/vault/namespace" => json!("platform/environments"),
        "/vault/mount" => json!("environments/kv"),
        "/vault/ca/configMap" => json!("vault-ca"),
        "/vault/ca/key" => json!("root.pem"),
        "/vault/login/path" | "/vault/authPath" => json!("clusters/one"),
        "/vault/login/role" => json!("operator"),
        "/vault/login/secret" => json!("login"),
        "/vault/audience" => json!("https://vault.example.com"),
        "/vault/passwordPolicy" => json!("long"),
        "/vault/checkInterval" => json!("10m"),
        "/vault/acrossProduction" => return vec![json!(["reference"]), json!(["copy", "reference"])],
        "/vault/ports" => json!([443, 8200]),
        "/secretsOperator/externalSecretsServiceAccount/namespace" => json!("secrets"),
        "/secretsOperator/externalSecretsServiceAccount/name" => json!("eso.controller"),
        "/serviceAccount/annotations" | "/podAnnotations" => json!({"example.com/team": "platform"}),
        "/roles/builderEnvironments" => return vec![json!([]), json!(["dev"])],
        "/resources/requests" => json!({"cpu": "1", "memory": "100Mi"}),
        "/resources/limits" => return vec![json!({"memory": "1Gi"}), json!({"cpu": "2", "memory": "2Gi"})],
        "/networkPolicy/apiServerPorts" => json!([8443]),
        "/networkPolicy/metricsFrom" => json!([{"podSelector": {"matchLabels": {"app": "prometheus"}}}]),
        "/metrics/serviceMonitor/interval" => json!("1m"),
        "/metrics/serviceMonitor/labels" | "/metrics/prometheusRule/labels" => json!({"release": "prometheus"}),
        "/metrics/dashboard/labels" => json!({"grafana": "yes"}),
        "/nodeSelector" => json!({"disk": "ssd"}),
        "/tolerations" => json!([{"operator": "Exists"}]),
        "/affinity" => {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "arch", "operator": "In", "values": ["amd64"]}]}]}}})
        }
        "/priorityClassName" => json!("system-cluster-critical"),
        _ => panic!("the schema names {pointer}: say what to try there"),
    };
    vec![one]
}

/// Every place that the schema names.
fn choices(schema: &Value, pointer: &str) -> Vec<Choice> {
    let fixed = schema["additionalProperties"] == false && schema["properties"].is_object();
    if fixed {
        let properties = schema["properties"].as_object().unwrap();
        return properties.iter().flat_map(|(name, schema)| choices(schema, &format!("{pointer}/{name}"))).collect();
    }
    let values = match (&schema["enum"], &schema["type"]) {
        (Value::Array(values), _) => values.clone(),
        (_, Value::String(kind)) if kind == "boolean" => vec![json!(false), json!(true)],
        _ => samples(pointer),
    };
    vec![(pointer.to_owned(), values)]
}

/// Which value each choice takes: an index into its values, or none for the default.
type Set = Vec<Option<usize>>;

/// Sets of values in which every two values of every two choices meet, as far as both may be.
fn pairwise(choices: &[Choice], may_be: impl Fn(&[Choice], &Set) -> bool) -> Vec<Set> {
    let options = |choice: &Choice| std::iter::once(None).chain((0..choice.1.len()).map(Some)).collect::<Vec<_>>();
    let mut open = BTreeSet::new();
    for (first, one) in choices.iter().enumerate() {
        for (second, other) in choices.iter().enumerate().skip(first + 1) {
            for one in options(one) {
                open.extend(options(other).into_iter().map(|other| (first, one, second, other)));
            }
        }
    }
    let mut sets = vec![];
    while let Some((first, one, second, other)) = open.pop_first() {
        let mut set: Set = vec![None; choices.len()];
        (set[first], set[second]) = (one, other);
        if !may_be(choices, &set) {
            continue;
        }
        for at in (0..choices.len()).filter(|at| ![first, second].contains(at)) {
            let meets = |set: &Set| {
                let pair = |with: usize| {
                    let (low, high) = (at.min(with), at.max(with));
                    (low, set[low], high, set[high])
                };
                (0..choices.len()).filter(|with| *with != at && open.contains(&pair(*with))).count()
            };
            let tried = options(&choices[at]).into_iter().map(|option| {
                let mut set = set.clone();
                set[at] = option;
                set
            });
            set = tried.filter(|set| may_be(choices, set)).max_by_key(meets).unwrap_or(set);
        }
        open.retain(|(first, one, second, other)| (set[*first], set[*second]) != (*one, *other));
        sets.push(set);
    }
    sets
}

/// What the chart refuses together: a `ServiceMonitor` needs the Service, and copies need a login of the operator's `ServiceAccount`.
fn may_be(choices: &[Choice], set: &Set) -> bool {
    let is = |pointer: &str, value: Value| {
        let at = choices.iter().position(|choice| choice.0 == pointer).unwrap();
        set[at].is_some_and(|index| choices[at].1[index] == value)
    };
    let monitors_nothing = is("/metrics/service", json!(false)) && is("/metrics/serviceMonitor/create", json!(true));
    let other_login = is("/vault/login/method", json!("approle")) || is("/vault/login/method", json!("token"));
    let copies_without_login = is("/vault/allowCopy", json!(true)) && other_login;
    !(monitors_nothing || copies_without_login)
}

/// The set as values for helm.
fn values(choices: &[Choice], set: &Set) -> Value {
    let mut values = json!({});
    for ((pointer, tried), chosen) in choices.iter().zip(set) {
        let Some(index) = chosen else { continue };
        let mut place = &mut values;
        for name in pointer.split('/').skip(1) {
            place = &mut place[name];
        }
        *place = tried[*index].clone();
    }
    values
}

#[test]
fn the_api_server_accepts_every_two_values_together() {
    let plane = ControlPlane::start(&Options { name: "combinations".to_owned(), ..Options::default() }).unwrap();
    let kubectl = plane.kubectl();
    let kinds = Toolbox::from_env().unwrap().kinds().unwrap();
    kubectl.run(["apply", "--server-side", "--filename", kinds.to_str().unwrap()]).unwrap();
    kubectl.run(["create", "namespace", NAMESPACE]).unwrap();
    kubectl.run(["create", "serviceaccount", NAME, "--namespace", NAMESPACE]).unwrap();
    wait_until("the Prometheus Operator's kinds", Duration::from_mins(1), || {
        Ok(kubectl.run(["get", "servicemonitors,prometheusrules", "--all-namespaces"]).ok())
    })
    .unwrap();

    let schema: Value =
        serde_json::from_str(&fs::read_to_string(format!("{CHART}/values.schema.json")).unwrap()).unwrap();
    let choices = choices(&schema, "");
    let sets = pairwise(&choices, may_be);
    // Many sets render the same document: each is tried once, in one request after the other.
    let mut documents = BTreeSet::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    for set in &sets {
        let values = values(&choices, set);
        fs::write(file.path(), values.to_string()).unwrap();
        let args = ["template", NAME, CHART, "--namespace", NAMESPACE, "--values", file.path().to_str().unwrap()];
        let rendered = helm(&[&args[..], &TODAY].concat(), &[]).unwrap_or_else(|error| panic!("{values}: {error}"));
        documents.extend(rendered.split("\n---").filter(|document| document.contains("\nkind: ")).map(str::to_owned));
    }
    println!("{} places, {} sets, {} documents", choices.len(), sets.len(), documents.len());
    let all: Vec<&str> = documents.iter().map(String::as_str).collect();
    let mut command = kubectl.command([
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "--filename",
        "-",
    ]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(all.join("\n---\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_two_values_meet() {
    let choices: Vec<Choice> = (0..5).map(|at| (format!("/{at}"), vec![json!(1), json!(2)])).collect();
    let sets = pairwise(&choices, |_, _| true);
    for (first, second) in (0..5).flat_map(|first| (first + 1..5).map(move |second| (first, second))) {
        let met: BTreeSet<_> = sets.iter().map(|set| (set[first], set[second])).collect();
        assert_eq!(met.len(), 9, "{first} and {second}");
    }
    assert!(sets.len() < 25, "{}", sets.len());
}
