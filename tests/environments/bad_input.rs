//! Bad input: refused by the API server with a reason, or told in a condition with the field, the value and the
//! remedy; and nothing is lost.

use serde_json::{Value, json};

use crate::support::{Cluster, Operator, Project, condition, eventually};

#[test]
fn an_unknown_base_is_waited_for() {
    let project = Project::new("shop");
    let staging = project.environment("staging").cloned_from("dev").create();
    let message = staging.wait_condition("Reconciling", "BaseNotFound");
    assert!(message.contains("spec.baseFrom.environment") && message.contains("dev"), "{message}");
    assert_eq!(staging.live()["status"]["phase"], "Pending");
    assert_eq!(staging.namespace_object().get(), None);
    project.version("v1.4.3");
    project.environment("dev").starting_with("v1.4.3").variable("A", "1").create();
    staging.wait_ready();
    assert_eq!(staging.variables(), json!({"A": "1"}));
}

#[test]
fn an_unknown_version_is_waited_for() {
    let project = Project::new("shop");
    let dev = project.environment("dev").starting_with("v9.9.9").create();
    let message = dev.wait_condition("Reconciling", "VersionNotFound");
    assert!(message.contains("spec.baseFrom.version") && message.contains("v9.9.9"), "{message}");
    project.version("v9.9.9");
    assert_eq!(dev.wait_ready()["status"]["release"]["version"], "v9.9.9");
}

#[test]
fn a_base_without_a_version_is_waited_for_with_a_word() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("A", "1").ready();
    let staging = project.environment("staging").cloned_from("dev").create();
    let message = staging.wait_condition("Reconciling", "BaseHasNoVersion");
    assert!(message.contains("dev has no version yet"), "{message}");
    staging.wait_event("BaseHasNoVersion", &["dev"]);
    dev.delete();
    staging.wait_condition("Reconciling", "BaseNotFound");
    project.version("v1.4.3");
    project.environment("dev").starting_with("v1.4.3").create();
    staging.wait_ready();
}

#[test]
fn a_base_that_is_being_deleted_is_not_cloned() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").finalizer("example.com/ticket").ready();
    dev.delete();
    let staging = project.environment("staging").cloned_from("dev").create();
    let message = staging.wait_condition("Reconciling", "BaseTerminating");
    assert!(message.contains("dev is being deleted"), "{message}");
    project.kubectl(&["patch", "penv", "dev", "--type=merge", "--patch", r#"{"metadata": {"finalizers": null}}"#]);
    staging.wait_condition("Reconciling", "BaseNotFound");
}

#[test]
fn a_base_that_is_deleted_while_it_is_cloned_leaves_a_whole_clone_or_one_that_waits() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    for round in 0..4 {
        let base = project.environment(&format!("base-{round}")).starting_with("v1.4.3").variable("A", "1").ready();
        let clone = project.environment(&format!("clone-{round}")).cloned_from(base.name()).create();
        base.delete();
        base.wait_gone();
        let end = clone.wait_for("an end", |object| {
            let reason = |name: &str| condition(object, name).map(|condition| condition["reason"].clone());
            condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
                || reason("Reconciling") == Some(json!("BaseNotFound"))
        });
        if condition(&end, "Ready").unwrap()["status"] == "True" {
            assert_eq!(clone.variables(), json!({"A": "1"}));
            assert_eq!(clone.history().len(), 1);
        } else {
            assert_eq!(clone.history(), vec![]);
        }
    }
}

#[test]
fn environments_that_clone_each_other_are_told_of_the_circle() {
    let project = Project::new("shop");
    let circle = ["a", "b", "c"];
    for (name, base) in [("a", "b"), ("b", "c"), ("c", "a")] {
        project.environment(name).cloned_from(base).create();
    }
    for name in circle {
        let message = project.existing(name).wait_condition("Stalled", "BaseCycle");
        assert!(
            circle.iter().all(|name| message.contains(name)) && message.contains("delete one of them"),
            "{message}"
        );
    }
    project.version("v1.4.3");
    let c = project.existing("c");
    c.delete();
    c.wait_gone();
    project.existing("b").wait_condition("Reconciling", "BaseNotFound");
    project.environment("c").starting_with("v1.4.3").create();
    for name in circle {
        project.existing(name).wait_ready();
    }
}

#[test]
fn an_environment_that_clones_itself_is_told_so() {
    let project = Project::new("shop");
    let own = project.environment("own").cloned_from("own").create();
    let message = own.wait_condition("Stalled", "BaseCycle");
    assert!(message.contains("own"), "{message}");
    own.delete();
    own.wait_gone();
}

#[test]
fn a_name_too_long_for_a_namespace_says_how_much_room_there_is() {
    let project = Project::new(&"p".repeat(50));
    let room = 63 - project.namespace().len() - 2;
    let long = project.environment(&"e".repeat(room + 1)).create();
    let message = long.wait_condition("Stalled", "InvalidName");
    assert!(message.contains(&format!("at most {room} characters")), "{message}");
    long.delete();
    long.wait_gone();
    project.environment(&"e".repeat(room)).ready();
}

#[test]
fn a_name_that_does_not_do_is_refused_with_what_does() {
    let project = Project::new("shop");
    for name in ["a--b", "a.b", &"e".repeat(61)] {
        let refusal = project.environment(name).refused();
        assert!(refusal.contains(name) && refusal.contains("single hyphens"), "{refusal}");
    }
    project.environment("qa-2").ready();
}

#[test]
fn keys_that_are_given_twice_are_refused() {
    let project = Project::new("shop");
    let refusal = project.environment("dev").variable("A", "1").variable("A", "2").refused();
    assert!(refusal.contains("Duplicate value") && refusal.contains("\"A\""), "{refusal}");
    let refusal = project.environment("dev").flag("F", true).flag("F", true).refused();
    assert!(refusal.contains("Duplicate value"), "{refusal}");
}

#[test]
fn a_variable_has_a_value_or_a_secret_never_both_or_neither() {
    let project = Project::new("shop");
    let vault = json!({"path": "payments", "key": "api_key"});
    for variable in [json!({"name": "A", "value": "1", "vault": vault}), json!({"name": "A"})] {
        let refusal = project.environment("dev").with("config", json!({"variables": [variable]})).refused();
        assert!(refusal.contains("give exactly one of them"), "{refusal}");
    }
}

#[test]
fn names_and_references_out_of_form_are_refused() {
    let project = Project::new("shop");
    for name in ["1A", "A-B", "A B", "", "A=B"] {
        let refusal = project.environment("dev").variable(name, "1").refused();
        assert!(refusal.contains("spec.config.variables[0].name"), "{refusal}");
    }
    for path in ["../other", "/payments", "payments/", "pay ments", "a//b", "Payments"] {
        let refusal = project.environment("dev").secret("A", path, "k").refused();
        assert!(refusal.contains("spec.config.variables[0].vault.path"), "{path}: {refusal}");
    }
}

fn many(count: usize, prefix: &str, value: &str) -> Value {
    let list: Vec<Value> =
        (0..count).map(|number| json!({"name": format!("{prefix}_{number}"), "value": value})).collect();
    json!({"variables": list})
}

#[test]
fn more_keys_than_there_is_room_for_are_refused_by_the_api_server() {
    let project = Project::new("shop");
    let refusal = project.environment("dev").with("config", many(257, "V", "1")).refused();
    assert!(refusal.contains("spec.config.variables: Too many: 257: must have at most 256"), "{refusal}");
    let refusal = project.environment("dev").variable("A", &"x".repeat(2049)).refused();
    assert!(refusal.contains("2048"), "{refusal}");
    let full = project.environment("full").with("config", many(256, "V", "1")).ready();
    assert_eq!(full.variables().as_object().unwrap().len(), 256);
}

#[test]
fn more_inherited_keys_than_there_is_room_for_are_told_and_mended_by_an_edit() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    // As much as there is room for: 512 variables, and 1 MiB together.
    let value = "x".repeat(2048);
    project.environment("a").starting_with("v1.4.3").with("config", many(256, "A", &value)).create();
    project.environment("b").cloned_from("a").with("config", many(256, "B", &value)).ready();
    let c = project.environment("c").cloned_from("b").with("config", many(1, "C", "1")).create();
    let message = c.wait_condition("Stalled", "InvalidSpec");
    assert!(message.contains("513 variables") && message.contains("512"), "{message}");
    assert_eq!(c.condition("ConfigReady").unwrap()["reason"], "InvalidSpec");
    c.edit(&json!({"config": {"variables": null}}));
    c.wait_ready();
    assert_eq!(c.variables().as_object().unwrap().len(), 512);
}

#[test]
fn a_configuration_too_large_for_a_config_map_is_told_and_mended_by_an_edit() {
    let project = Project::new("shop");
    let dev = project.environment("dev").variable("A", "1").ready();
    // Within the bounds of each field, and together above the 1 MiB of a ConfigMap.
    dev.edit(&json!({"config": many(200, "V", &"€".repeat(2048))}));
    let message = dev.wait_condition("Stalled", "InvalidSpec");
    assert!(message.contains("1228800 bytes") && message.contains("1048576"), "{message}");
    assert_eq!(dev.condition("ConfigReady").unwrap()["reason"], "InvalidSpec");
    assert_eq!(dev.variables(), json!({"A": "1"}), "applications keep what they had");
    dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": "2"}]}}));
    assert_eq!(dev.variables(), json!({"A": "2"}));
    dev.verify_history().unwrap();
}

#[test]
fn quota_nonsense_is_refused_by_name() {
    let project = Project::new("shop");
    for nonsense in ["-1", "lots", "0", "1 Gi", "1GiB", ""] {
        for field in ["cpu", "memory", "storage"] {
            let quota = json!({"quota": {field: nonsense}});
            let refusal = project.environment("dev").with("isolation", quota).refused();
            assert!(refusal.contains(&format!("spec.isolation.quota.{field}")), "{nonsense}: {refusal}");
        }
    }
    let refusal = project.environment("dev").with("isolation", json!({"quota": {"cpu": "-1"}})).refused();
    assert!(refusal.contains("-1 is not a quantity above zero"), "{refusal}");
    for pods in [json!(-1), json!(10001), json!("many")] {
        let refusal = project.environment("dev").with("isolation", json!({"quota": {"pods": pods}})).refused();
        assert!(refusal.contains("pods"), "{refusal}");
    }
}

#[test]
fn a_cluster_role_off_the_list_is_told_with_the_list() {
    let project = Project::new("shop");
    let access = |role: &str| json!({"access": [{"role": role, "users": ["ana"]}]});
    let dev = project.environment("dev").with("isolation", access("cluster-admin")).create();
    let message = dev.wait_condition("Stalled", "InvalidSpec");
    assert!(message.contains("spec.isolation.access") && message.contains("\"cluster-admin\""), "{message}");
    assert!(message.ends_with("allowed are: view"), "{message}");
    assert_eq!(dev.children("rolebinding"), Vec::<Value>::new(), "nobody is let in");
    assert!(!dev.children("networkpolicy").is_empty(), "all else is enforced");
    dev.edit_and_wait(&json!({"isolation": access("view")}));

    dev.edit(&json!({"isolation": access("edit")}));
    dev.wait_condition("Stalled", "InvalidSpec");
    assert_eq!(dev.children("rolebinding"), Vec::<Value>::new(), "what is asked for no longer is taken");
}

#[test]
fn an_unknown_gateway_is_told_with_those_that_are_known() {
    let project = Project::new("shop");
    let network = json!({"network": {"gateways": ["private"]}});
    let dev = project.environment("dev").with("isolation", network).create();
    let message = dev.wait_condition("Stalled", "InvalidSpec");
    assert!(message.contains("gateway named \"private\"") && message.contains("known are: public"), "{message}");
    dev.edit_and_wait(&json!({"isolation": {"network": {"gateways": ["public"]}}}));
}

#[test]
fn access_for_nobody_or_for_the_systems_own_is_refused() {
    let project = Project::new("shop");
    let with = |access: Value| project.environment("dev").with("isolation", json!({"access": [access]})).refused();
    for list in ["users", "groups"] {
        for name in ["system:masters", "system:authenticated", "system:serviceaccount:kube-system:default"] {
            let refusal = with(json!({"role": "view", list: [name]}));
            assert!(refusal.contains("belong to Kubernetes"), "{refusal}");
        }
    }
    let refusal = with(json!({"role": "view"}));
    assert!(refusal.contains("access names nobody"), "{refusal}");
    let refusal = with(json!({"role": "view", "users": []}));
    assert!(refusal.contains("access names nobody"), "{refusal}");
}

#[test]
fn what_is_taken_once_cannot_be_changed() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let dev = project.environment("dev").starting_with("v1.4.3").ready();
    let refusal = dev.try_edit(&json!({"class": "Production"})).unwrap_err().to_string();
    assert!(refusal.contains("class cannot be changed"), "{refusal}");
    for base in [json!({"version": "v2.0.0"}), Value::Null, json!({"version": null, "environment": "staging"})] {
        let refusal = dev.try_edit(&json!({"baseFrom": base})).unwrap_err().to_string();
        assert!(refusal.contains("baseFrom is taken once"), "{refusal}");
    }
    let nothing = project.environment("nothing").ready();
    let refusal = nothing.try_edit(&json!({"baseFrom": {"version": "v1.4.3"}})).unwrap_err().to_string();
    assert!(refusal.contains("baseFrom is taken once"), "{refusal}");
    for both in [json!({"version": "v1.4.3", "environment": "dev"}), json!({})] {
        let refusal = project.environment("other").with("baseFrom", both).refused();
        assert!(refusal.contains("give exactly one of them"), "{refusal}");
    }
}

#[test]
fn a_version_is_immutable_and_known_by_its_own_name() {
    let project = Project::new("shop");
    project.version("v1.4.3");
    let patch = r#"{"spec": {"content": {"entities": null}}}"#;
    let refusal = project.try_kubectl(&["patch", "pver", "v1.4.3", "--type=merge", "--patch", patch]).unwrap_err();
    assert!(refusal.to_string().contains("a version is immutable"), "{refusal}");
    let version = |name: &str, version: &str| {
        let manifest = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
            "metadata": {"name": name, "namespace": project.namespace()}, "spec": {"version": version},
        });
        project.cluster().kubectl().create(&manifest.to_string()).map_err(|error| error.to_string())
    };
    let refusal = version("v1.4.4", "v1.4.5").unwrap_err();
    assert!(refusal.contains("metadata.name v1.4.4 and spec.version v1.4.5 differ"), "{refusal}");
    for nonsense in ["latest", "v1", "1.4", "v01.4.3"] {
        let refusal = version(nonsense, nonsense).unwrap_err();
        assert!(refusal.contains("spec.version"), "{refusal}");
    }
    version("v2.0.0-rc.1", "v2.0.0-rc.1").unwrap();
}

#[test]
fn fields_that_do_not_exist_are_refused() {
    let project = Project::new("shop");
    let refusal = project.environment("dev").with("replicas", json!(3)).refused();
    assert!(refusal.contains("unknown field \"spec.replicas\""), "{refusal}");
}

#[test]
fn an_object_that_an_older_schema_let_in_harms_nobody_else() {
    let cluster = Cluster::exclusive();
    let project = cluster.project("shop");
    let strict = std::fs::read_to_string("crds/platform.puraify.app.yaml").unwrap();
    cluster.take_over(&strict.replace("- Development\n", "- Development\n                - Sandbox\n"));
    let old = eventually("the older schema", || {
        let manifest = project.environment("old").class("Sandbox").manifest();
        cluster.kubectl().create(&manifest.to_string()).ok().map(|_| project.existing("old"))
    });
    let held = project.environment("held").class("Sandbox").finalizer("platform.puraify.app/environment").create();
    cluster.take_over(&strict);
    eventually("the strict schema", || {
        let manifest = project.environment("new").class("Sandbox").manifest();
        let dry_run = serde_json::to_string(&manifest).unwrap();
        let refusal = cluster.kubectl().create(&dry_run).err();
        if refusal.is_none() {
            project.kubectl(&["delete", "penv", "new"]);
        }
        refusal.map(drop)
    });

    let _operator = Operator::start(&cluster);
    let said =
        eventually("a word about it", || old.condition("Stalled").filter(|stalled| stalled["reason"] == "Undecodable"));
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("Sandbox") && message.contains("left as it is"), "{message}");
    assert_eq!(old.condition("Ready").unwrap()["status"], "False");
    project.environment("dev").ready();
    for environment in [&old, &held] {
        environment.delete();
        eventually("its end", || environment.get().is_none().then_some(()));
    }
}
