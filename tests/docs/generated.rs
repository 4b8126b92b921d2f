//! Tables that come from the code. Each stands in a page between `<!-- generated: name -->` and
//! `<!-- end generated -->`, or is a page of its own.

use std::{
    env,
    fmt::Write as _,
    fs,
    sync::{Mutex, PoisonError},
};

use clap::Args as _;
use environment_manager::{
    api::{self, EnvironmentClass, isolation::EffectiveIsolation},
    config::RunConfig,
    controller::{
        rights,
        run_loop::{Limits, Trigger},
    },
    domain::{environment::isolation, settings::Settings, vault::SecretsOperator},
    metrics::{Code, Metrics, Outcome, RequestLabels, ResourceName},
};
use serde_json::Value;

use crate::markdown::{pages, root};

/// The file holds this text; or it is written there, when that is wished.
fn check(path: &str, text: &str) {
    let file = root().join(path);
    if env::var_os("UPDATE").is_some() {
        // In one piece: other tests read it.
        let new = file.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &file).unwrap();
    }
    let present = fs::read_to_string(&file).unwrap_or_default();
    assert!(present == text, "{path} is not what the code says; write it with: UPDATE=1 cargo test --test docs");
}

/// The section of this name holds this text.
fn check_section(path: &str, name: &str, text: &str) {
    /// Several tests may write sections of the same page.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let page = fs::read_to_string(root().join(path)).unwrap();
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), "<!-- end generated -->");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{path} has no section {name}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("section {name} of {path} has no end"));
    check(path, &format!("{before}{begin}\n{text}\n{end}{after}"));
}

/// A table in Markdown.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[test]
fn the_isolation_of_each_class() {
    let classes = [
        EnvironmentClass::Development,
        EnvironmentClass::Staging,
        EnvironmentClass::Production,
        EnvironmentClass::Preview,
    ];
    let settings = Settings { gateways: [("g".to_owned(), "n".to_owned())].into(), ..Settings::default() };
    let of = |class| isolation::effective(class, None, &settings).0;
    let all_gateways = |effective: EffectiveIsolation| match effective.gateways.len() {
        0 => "none".to_owned(),
        _ => "all that the platform team named".to_owned(),
    };
    let rows: [(&str, &dyn Fn(EffectiveIsolation) -> String); 8] = [
        ("Pod Security Standard", &|effective| effective.pod_security.as_str().to_owned()),
        ("CPU requests of all pods", &|effective| effective.quota.cpu),
        ("Memory requests and limits of all pods", &|effective| effective.quota.memory),
        ("Storage requests of all volume claims", &|effective| effective.quota.storage),
        ("Pods", &|effective| effective.quota.pods.to_string()),
        ("A container that asks for nothing gets", &|effective| {
            format!("{} CPU, {}", effective.limits.default_cpu, effective.limits.default_memory)
        }),
        ("Traffic in from gateways", &all_gateways),
        ("Traffic out to public addresses", &|effective| if effective.internet { "yes" } else { "no" }.to_owned()),
    ];
    let rows = rows.into_iter().map(|(name, value)| {
        [name.to_owned()].into_iter().chain(classes.into_iter().map(|class| value(of(class)))).collect()
    });
    let head: Vec<&str> = [""].into_iter().chain(classes.map(EnvironmentClass::as_str)).collect();
    check_section("docs/concepts.md", "isolation", &table(&head, rows));
}

#[test]
fn the_rights_of_the_operator() {
    let row = |right: rights::Right, place: &str| {
        let group = if right.group.is_empty() { "(core)".to_owned() } else { code(&right.group) };
        let names: Vec<String> = right.names.iter().map(|name| code(name)).collect();
        let only = if names.is_empty() { String::new() } else { format!(", only {}", names.join(", ")) };
        let resource = format!("{}{only}{place}", code(&right.resource));
        vec![group, resource, right.verbs.join(", "), right.why.to_owned()]
    };
    let everywhere = rights::everywhere().into_iter().map(|right| row(right, ""));
    let bind = [row(rights::to_bind(["view".to_owned()]), "")];
    let at_home = rights::at_home().into_iter().map(|right| row(right, ", in its own namespace"));
    let head = ["API group", "Resource", "Verbs", "For"];
    let rows = everywhere.chain(bind).chain(at_home);
    check_section("docs/operations.md", "rights", &table(&head, rows));
    let external = SecretsOperator::ExternalSecrets(String::new(), String::new());
    let operators = [external, SecretsOperator::VaultSecrets];
    let rows = operators.iter().flat_map(rights::with_secrets_operator).map(|right| row(right, ""));
    check_section("docs/operations.md", "vault-rights", &table(&head, rows));
}

#[test]
fn the_flags_of_run() {
    let command = RunConfig::augment_args(clap::Command::new("run"));
    let rows = command.get_arguments().map(|argument| {
        let long = argument.get_long().unwrap();
        let takes_value = argument.get_action().takes_values();
        let value = argument.get_value_names().into_iter().flatten().next().filter(|_| takes_value);
        let value = value.map_or(String::new(), |name| format!(" {name}"));
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if defaults.is_empty() { "-".to_owned() } else { code(&defaults.join(",")) };
        let variable = argument.get_env().unwrap().to_string_lossy().into_owned();
        let possible = argument.get_possible_values().into_iter().filter(|_| takes_value);
        let possible: Vec<String> = possible.map(|value| code(value.get_name())).collect();
        let one_of = if possible.is_empty() { String::new() } else { format!(". One of {}", possible.join(", ")) };
        let help = escaped(&argument.get_help().unwrap().to_string()) + &one_of;
        vec![code(&format!("--{long}{value}")), code(&variable), default, help]
    });
    check_section("docs/operations.md", "flags", &table(&["Flag", "Variable", "Default", "Meaning"], rows));
}

/// As Markdown shows it: `<project>` and `NAME=*` as they are.
fn escaped(text: &str) -> String {
    text.replace('<', "&lt;").replace("&lt;https:", "<https:").replace('*', "\\*")
}

#[test]
fn the_metrics() {
    let metrics = Metrics::new();
    metrics.reconciled("PlatformEnvironment", Outcome::Success, std::time::Duration::ZERO);
    let resource = ResourceName { resource: "configmaps", subresource: None };
    metrics.requested(&RequestLabels { verb: "apply", resource, code: Code::Status(200) });
    metrics.watch_failed("configmaps");
    metrics.watch_queue("PlatformEnvironment", Trigger::new(&Limits::default()));
    metrics.watch_cache("configmaps", || 0);
    let group = environment_manager::metrics::EnvironmentGroup { class: "Preview", phase: "Active" };
    metrics.set_environments(move || vec![(group.clone(), 1)]);
    metrics.vault_request("read", "ok");
    let text = metrics.encode().unwrap();
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let rows = helps.map(|(name, help)| {
        let kind = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")))
            .unwrap_or_else(|| panic!("{name} has no type"));
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        vec![
            code(&format!("{name}{suffix}")),
            kind.to_owned(),
            labels(&text, name),
            help.trim_end_matches('.').to_owned(),
        ]
    });
    check_section("docs/operations.md", "metrics", &table(&["Metric", "Type", "Labels", "Meaning"], rows));
}

/// The names of a metric's labels, from its first sample.
fn labels(text: &str, name: &str) -> String {
    let sample = text.lines().find(|line| line.starts_with(name) && line.contains('{')).unwrap_or_default();
    let inside = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
    let names = inside.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
    names.filter(|name| *name != "le").map(code).collect::<Vec<_>>().join(", ")
}

/// The words in the status are API; a word that nobody can look up is of no use.
#[test]
fn every_reason_condition_and_phase_is_explained() {
    let concepts = pages().into_iter().find(|page| page.path.ends_with("concepts.md")).unwrap().text;
    let remedies = pages().into_iter().find(|page| page.path.ends_with("unblock-an-environment.md")).unwrap().text;
    let condition = fs::read_to_string(root().join("src/api/condition.rs")).unwrap();
    let environment = fs::read_to_string(root().join("src/api/environment.rs")).unwrap();
    // `Self::NotOurs => "NotOurs"`, and `pub const READY: &str = "Ready"`.
    let words = |source: &str, before: &str| -> Vec<String> {
        let quoted = source.lines().filter(|line| line.contains(before)).filter_map(|line| line.split('"').nth(1));
        quoted.map(ToOwned::to_owned).collect()
    };
    let reasons = words(&condition, "Self::");
    assert!(reasons.len() > 10, "{reasons:?}");
    let all = [reasons.clone(), words(&condition, "pub const"), words(&environment, "Self::")].concat();
    for word in &all {
        assert!(concepts.contains(&code(word)), "docs/concepts.md does not explain {word}");
    }
    for reason in reasons.iter().filter(|reason| !["AsIntended"].contains(&reason.as_str())) {
        assert!(remedies.contains(&code(reason)), "docs/how-to/unblock-an-environment.md has no remedy for {reason}");
    }
}

/// The same for promotions, whose words stand where they are made: in the gates, and in what a plan says.
#[test]
fn every_phase_gate_and_reason_of_a_promotion_is_explained() {
    let text = |end: &str| pages().into_iter().find(|page| page.path.ends_with(end)).unwrap().text;
    let (promotions, remedies) = (text("docs/promotions.md"), text("unblock-a-promotion.md"));
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let api = read("src/api/promotion.rs");
    let names: Vec<&str> =
        api.lines().filter(|line| line.contains("Self::")).filter_map(|line| line.split('"').nth(1)).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let found = [format!("`{name}`"), format!("`{name}/")].iter().any(|word| promotions.contains(word));
        assert!(found, "docs/promotions.md does not explain {name}");
    }
    let mut sources = vec![read("src/domain/promotion/plan.rs"), read("src/domain/promotion/proposal.rs")];
    for entry in fs::read_dir(root().join("src/domain/promotion/gates")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("tests.rs") {
            sources.push(fs::read_to_string(path).unwrap());
        }
    }
    let source = sources.concat();
    let is_reason = |word: &&str| {
        word.len() > 3
            && word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(|letter| letter.is_ascii_alphabetic())
    };
    let reasons: Vec<&str> =
        source.lines().flat_map(|line| line.split('"').skip(1).step_by(2)).filter(is_reason).collect();
    assert!(reasons.len() > 40, "{reasons:?}");
    for reason in reasons {
        let found = [&promotions, &remedies].iter().any(|page| page.contains(&code(reason)));
        assert!(found, "neither docs/promotions.md nor unblock-a-promotion.md explains {reason}");
    }
}

#[test]
fn the_reference_of_the_kinds() {
    let mut page = "# The kinds, field by field\n\n\
        Generated from the types; do not edit. Rewrite it with `UPDATE=1 cargo test --test docs`. The same text comes\n\
        from `kubectl explain`, for example `kubectl explain penv.spec.config`.\n\n\
        A field in **bold** is required. `[]` stands for the entries of a list, `{}` for the values of a map.\n"
        .to_owned();
    for crd in api::crds() {
        let names = &crd["spec"]["names"];
        let version = &crd["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        writeln!(page, "\n## {}\n\n{}\n", word(&names["kind"]), word(&schema["description"])).unwrap();
        let (group, short) = (word(&crd["spec"]["group"]), word(&names["shortNames"][0]));
        let (name, plural) = (word(&version["name"]), word(&names["plural"]));
        writeln!(page, "`{group}/{name}`, resource `{plural}`, short name `{short}`.\n").unwrap();
        let mut fields = Fields::default();
        fields.of_object(schema, "", &["metadata", "apiVersion", "kind"]);
        page.push_str(&table(&["Field", "Type", "Bounds", "Meaning"], fields.rows));
        if !fields.rules.is_empty() {
            writeln!(page, "\nRules:\n").unwrap();
            fields.rules.iter().for_each(|rule| writeln!(page, "- {rule}").unwrap());
        }
    }
    check("docs/reference/api.md", &page);
}

/// The fields of a schema, from the outside in.
#[derive(Default)]
struct Fields {
    rows: Vec<Vec<String>>,
    rules: Vec<String>,
}

impl Fields {
    fn of_object(&mut self, schema: &Value, path: &str, without: &[&str]) {
        self.rules_of(schema, path);
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if !without.contains(&name.as_str()) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                self.of_field(field, &path, required.contains(&name.as_str()));
            }
        }
    }

    fn of_field(&mut self, field: &Value, path: &str, required: bool) {
        let name = if required { format!("**{}**", code(path)) } else { code(path) };
        let meaning = field["description"].as_str().unwrap_or_default();
        self.rows.push(vec![name, type_of(field), bounds_of(field).join(", "), escaped(meaning)]);
        self.inside(field, path);
    }

    fn inside(&mut self, field: &Value, path: &str) {
        if field["properties"].is_object() {
            return self.of_object(field, path, &[]);
        }
        self.rules_of(field, path);
        for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if field[key].is_object() {
                self.inside(&field[key], &format!("{path}{mark}"));
            }
        }
    }

    fn rules_of(&mut self, schema: &Value, path: &str) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let at = if path.is_empty() { "the whole object".to_owned() } else { code(path) };
            let said = rule["message"].as_str().map(ToOwned::to_owned);
            let computed = || format!("`{}`", rule["rule"].as_str().unwrap_or_default());
            self.rules.push(format!("{at}: {}", said.unwrap_or_else(computed)));
        }
    }
}

fn type_of(field: &Value) -> String {
    let name = |field: &Value| match field["format"].as_str() {
        Some("date-time") => "time".to_owned(),
        _ => field["type"].as_str().unwrap_or("any").to_owned(),
    };
    if field["items"].is_object() {
        return format!("list of {}", type_of(&field["items"]));
    }
    if field["additionalProperties"].is_object() {
        return format!("map of {}", type_of(&field["additionalProperties"]));
    }
    name(field)
}

fn bounds_of(field: &Value) -> Vec<String> {
    let mut bounds = vec![];
    if let Some(choices) = field["enum"].as_array() {
        let choices: Vec<String> = choices.iter().filter_map(Value::as_str).map(code).collect();
        bounds.push(choices.join(" or "));
    }
    for (least, most, unit) in [
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " entries"),
        ("minProperties", "maxProperties", " entries"),
        ("minimum", "maximum", ""),
    ] {
        match (number(&field[least]), number(&field[most])) {
            (Some(least), Some(most)) => bounds.push(format!("{least} to {most}{unit}")),
            (None, Some(most)) => bounds.push(format!("at most {most}{unit}")),
            (Some(least), None) => bounds.push(format!("at least {least}{unit}")),
            (None, None) => {}
        }
    }
    if let Some(pattern) = field["pattern"].as_str() {
        bounds.push(code(pattern));
    }
    if let Some(keys) = field["x-kubernetes-list-map-keys"].as_array() {
        let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
        bounds.push(format!("unique by {}", code(&keys.join(", "))));
    }
    if field["x-kubernetes-list-type"] == "set" {
        bounds.push("unique".to_owned());
    }
    let default = &field["default"];
    if default.is_string() || default.is_boolean() || default.is_number() {
        bounds.push(format!("default {}", code(&default.to_string().replace('"', ""))));
    }
    for inner in ["items", "additionalProperties"] {
        if field[inner].is_object() && !field[inner]["properties"].is_object() {
            let of_each = bounds_of(&field[inner]);
            if !of_each.is_empty() {
                bounds.push(format!("each {}", of_each.join(", ")));
            }
        }
    }
    bounds
}

/// Whole numbers; the generator writes some of them as 5.0.
fn number(value: &Value) -> Option<String> {
    let number = value.as_f64()?;
    Some(format!("{number:.0}"))
}
