//! The chart's life on a control plane of its own: installed as it was released before, tested, upgraded, rolled back, uninstalled.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use devcluster::{ControlPlane, Helm, Kubectl, Options, wait_until};
use serde_json::{Value, json};

use crate::support::{
    Operator,
    chart::{self, CHART, NAME, NAMESPACE},
    eventually, plane,
};

const KINDS: [&str; 4] = ["platformenvironments", "platformversions", "promotions", "environmentrevisions"];

/// A control plane and its tools.
struct World {
    plane: ControlPlane,
    kubectl: Kubectl,
    helm: Helm,
}

impl World {
    fn start(name: &str) -> Self {
        let plane = plane(&Options { name: name.to_owned(), ..Options::default() });
        let (kubectl, helm) = (plane.kubectl(), plane.helm().unwrap());
        Self { plane, kubectl, helm }
    }

    fn helm(&self, args: &[&str]) -> String {
        self.helm.run([args, &["--namespace", NAMESPACE]].concat()).unwrap()
    }

    fn operator(&self) -> Operator {
        let kubeconfig = self.plane.service_account_kubeconfig(NAMESPACE, NAME).unwrap();
        let args = chart::operator_args(&self.kubectl);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut operator = Operator::run(&kubeconfig, &self.plane.dir().join("logs/operator.log"), &args);
        operator.wait_ready();
        operator
    }

    fn environment(&self, name: &str) -> Option<Value> {
        self.kubectl.json(["get", "penv", name, "--namespace", "pf-1"]).ok()
    }

    fn wait_ready(&self, name: &str) {
        let args = ["wait", "--for=condition=Ready", "penv", name, "--namespace", "pf-1", "--timeout=45s"];
        self.kubectl.run(args).unwrap();
    }

    /// What there is of the release in the whole cluster, by kind and name.
    fn inventory(&self) -> BTreeSet<String> {
        let list = |namespaced: &str| {
            let args = ["api-resources", "--verbs=list", "--output=name", namespaced];
            self.kubectl.run(args).unwrap().lines().map(str::to_owned).collect::<Vec<_>>().join(",")
        };
        let kinds = [list("--namespaced=true"), list("--namespaced=false")].join(",");
        let label = format!("--selector=app.kubernetes.io/instance={NAME}");
        let found = self.kubectl.run(["get", &kinds, "--all-namespaces", "--output=name", &label]).unwrap();
        found.lines().map(str::to_owned).collect()
    }
}

/// The chart's release before this one.
fn released() -> String {
    let files = fs::read_dir("charts/released").unwrap().map(|entry| entry.unwrap().path());
    let charts = files.filter(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    let numbered = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let number = semver::Version::parse(name.strip_prefix("environment-manager-").unwrap()).unwrap();
        (number, path)
    };
    let (number, path) = charts.map(numbered).max().unwrap();
    assert!(
        number < semver::Version::parse(env!("CARGO_PKG_VERSION")).unwrap(),
        "{number} is released: raise the version"
    );
    path.to_str().unwrap().to_owned()
}

#[test]
fn it_is_installed_tested_upgraded_rolled_back_and_uninstalled_and_loses_nothing() {
    let world = World::start("lifecycle");
    let before = world.inventory();
    let notes = world.helm(&["install", NAME, &released(), "--create-namespace"]);
    assert!(notes.contains("Say who may do what") && !notes.contains("has no MutatingAdmissionPolicy"), "{notes}");
    served(&world.kubectl);
    let operator = world.operator();
    people_work(&world);

    // Another release would serve the same projects.
    let second =
        world.helm.run(["install", "second", CHART, "--namespace", "other", "--create-namespace"]).unwrap_err();
    assert!(second.to_string().contains("One operator serves all projects of a cluster"), "{second}");

    let upgrade = ["upgrade", NAME, CHART, "--set", "operator.allowedClusterRoles={view,edit}", "--set", "replicas=3"];
    world.helm(&upgrade);
    for kind in KINDS {
        let kind = world.kubectl.json(["get", "crd", &format!("{kind}.platform.puraify.app")]).unwrap();
        let version = &kind["metadata"]["labels"]["app.kubernetes.io/version"];
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "the kinds are upgraded with the chart");
    }
    let role = world.kubectl.run(["get", "clusterrole", NAME, "--output", "yaml"]).unwrap();
    assert!(role.contains("- edit\n"), "{role}");
    assert!(operator.terminate().success());
    let operator = world.operator();
    let kept = world.environment("dev").unwrap();
    assert_eq!(kept["status"]["release"]["revision"], 1, "what was stored is still there");
    check(&world);

    world.helm(&["rollback", NAME, "1"]);
    let role = world.kubectl.run(["get", "clusterrole", NAME, "--output", "yaml"]).unwrap();
    assert!(!role.contains("- edit\n"), "{role}");
    world.wait_ready("dev");
    assert!(operator.terminate().success());

    let said = world.helm(&["uninstall", NAME]);
    assert!(
        KINDS.iter().all(|kind| said.contains(&format!("{kind}.platform.puraify.app"))),
        "it says what it keeps: {said}"
    );
    let left: Vec<String> = world.inventory().difference(&before).cloned().collect();
    let kinds = |left: &String| left.starts_with("customresourcedefinition.apiextensions.k8s.io/");
    assert!(left.len() == 4 && left.iter().all(kinds), "{left:#?}");
    assert!(world.environment("dev").is_some(), "and so the environments stay");

    // Installed again, it takes up what it left.
    world.helm(&["install", NAME, CHART]);
    let _operator = world.operator();
    world.wait_ready("dev");
    let edit = json!({"spec": {"config": {"flags": [{"name": "F", "enabled": true}]}}}).to_string();
    world.kubectl.run(["patch", "penv", "dev", "--namespace", "pf-1", "--type=merge", "--patch", &edit]).unwrap();
    eventually("the edit", || world.environment("dev").filter(|dev| dev["status"]["release"]["revision"] == 2));

    // A project that goes takes all with it, history and Production included: no policy is in the way.
    let production = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
        "metadata": {"name": "production", "namespace": "pf-1"}, "spec": {"class": "Production", "config": {}},
    });
    world.kubectl.create(&production.to_string()).unwrap();
    world.wait_ready("production");
    world.kubectl.run(["delete", "namespace", "pf-1", "--timeout=60s"]).unwrap();
    eventually("the end of the environments' namespaces", || {
        let left = world.kubectl.run(["get", "namespaces", "--output", "name"]).ok()?;
        (!left.contains("pf-1")).then_some(())
    });
}

/// A cluster before Kubernetes 1.36: nothing stamps who acts, so clients have to say it, and cannot lie.
#[test]
fn without_mutating_admission_policies_people_say_who_they_are_and_cannot_lie() {
    let world = World::start("fallback");
    let rendered = world.helm(&["template", NAME, CHART, "--kube-version", "1.34.0"]);
    assert!(!rendered.contains("MutatingAdmissionPolicy\n"));
    world.kubectl.run(["create", "namespace", NAMESPACE]).unwrap();
    // As Argo CD installs a chart; without the test, which is a hook.
    let documents = rendered.split("\n---\n").filter(|document| !document.contains("helm.sh/hook: test"));
    world.kubectl.apply(&documents.collect::<Vec<_>>().join("\n---\n")).unwrap();
    served(&world.kubectl);
    let _operator = world.operator();
    world.kubectl.run(["create", "namespace", "pf-1"]).unwrap();
    let version = |author: Option<&str>| {
        let annotations = author.map_or(json!({}), |author| json!({"platform.puraify.app/created-by": author}));
        let content = json!({"flows": {"A": environment_manager::api::Digest::of(b"a")}});
        let manifest = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformVersion",
            "metadata": {"name": "v1.0.0", "namespace": "pf-1", "annotations": annotations},
            "spec": {"version": "v1.0.0", "content": content},
        });
        world.kubectl.create(&manifest.to_string())
    };
    for wrong in [None, Some("zoe")] {
        let refusal = version(wrong).unwrap_err().to_string();
        assert!(refusal.contains("has to be your own user name, admin"), "{refusal}");
    }
    version(Some("admin")).unwrap();
    // The operator says who it is in what it makes by itself.
    let dev = json!({
        "apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
        "metadata": {"name": "dev", "namespace": "pf-1", "annotations": {"platform.puraify.app/created-by": "admin"}},
        "spec": {"class": "Development", "config": {}, "promotion": {"auto": true}},
    });
    world.kubectl.create(&dev.to_string()).unwrap();
    eventually("a promotion by itself", || {
        world.environment("dev").filter(|dev| dev["status"]["release"]["version"] == "v1.0.0")
    });
    let edit = |author: &str| {
        let patch = json!({"metadata": {"annotations": {"platform.puraify.app/changed-by": author}},
                           "spec": {"config": {"flags": [{"name": "F", "enabled": true}]}}});
        let args = ["patch", "penv", "dev", "--namespace", "pf-1", "--type=merge", "--patch", &patch.to_string()];
        world.kubectl.run(args)
    };
    let refusal = edit("zoe").unwrap_err().to_string();
    assert!(refusal.contains("changed-by has to be your own user name, admin"), "{refusal}");
    edit("admin").unwrap();
    the_plugin_says_who_it_is(&world);
}

/// Clones, promotes and confirms, each as somebody else, with the plugin.
fn the_plugin_says_who_it_is(world: &World) {
    let plugin = |kubeconfig: &Path, args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-penv"))
            .args(args)
            .args(["--namespace", "pf-1"])
            .env("KUBECONFIG", kubeconfig)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
        String::from_utf8(said).unwrap()
    };
    let role = format!("{NAME}-release-manager");
    let bind = ["create", "rolebinding", "managers", "--clusterrole", &role, "--user", "ben", "--namespace", "pf-1"];
    world.kubectl.run(bind).unwrap();
    let (admin, ben) = (world.plane.kubeconfig_for_admin(), world.plane.person("ben", &[]).unwrap());
    let rules = json!({"metadata": {"annotations": {"platform.puraify.app/changed-by": "admin"}},
                       "spec": {"promotion": {"auto": false, "confirmations": {"required": 1}}}});
    let args = ["patch", "penv", "dev", "--namespace", "pf-1", "--type=merge", "--patch", &rules.to_string()];
    world.kubectl.run(args).unwrap();
    plugin(&admin, &["rollback", "dev", "--to", "1", "--name", "back", "--no-wait"]);
    eventually("the plan", || {
        let back = world.kubectl.json(["get", "promo", "back", "--namespace", "pf-1"]).ok()?;
        back["status"]["plan"].is_object().then_some(())
    });
    let said = plugin(&ben, &["confirm", "back"]);
    assert!(said.contains("ben confirmed"), "{said}");
    let back = world.kubectl.json(["get", "promo", "back", "--namespace", "pf-1"]).unwrap();
    assert_eq!(back["metadata"]["annotations"]["platform.puraify.app/created-by"], "admin");
    assert_eq!(back["metadata"]["annotations"]["platform.puraify.app/changed-by"], "ben");
}

#[test]
fn an_operator_whose_policies_are_taken_away_stops_writing_and_waits_until_they_are_back() {
    let world = World::start("unguarded");
    world.helm(&["install", NAME, CHART, "--create-namespace"]);
    served(&world.kubectl);
    let mut operator = world.operator();
    people_work(&world);
    world.kubectl.run(["delete", "validatingadmissionpolicybinding", "environment-manager-promotions"]).unwrap();
    let ended = wait_until("the operator to end", Duration::from_mins(2), || Ok(operator.try_wait())).unwrap();
    assert_eq!(ended.code(), Some(1));
    let kubeconfig = world.plane.service_account_kubeconfig(NAMESPACE, NAME).unwrap();
    let args = chart::operator_args(&world.kubectl);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let log = world.plane.dir().join("logs/unguarded.log");
    let mut again = Operator::run(&kubeconfig, &log, &args);
    eventually("it to say what it waits for", || {
        fs::read_to_string(&log).ok()?.contains("environment-manager-promotions is bound to nothing").then_some(())
    });
    assert!(again.get("/readyz").unwrap().starts_with("HTTP/1.1 503"));
    world.helm(&["upgrade", NAME, CHART]);
    again.wait_ready();
}

/// Somebody who does not want to keep anything says so.
#[test]
fn the_kinds_go_with_the_chart_where_that_was_asked_for() {
    let world = World::start("keep-nothing");
    let notes = world.helm(&["install", NAME, CHART, "--create-namespace", "--set", "crds.keep=false"]);
    assert!(notes.contains("Delete all environments and versions first"), "{notes}");
    served(&world.kubectl);
    // As the notes say: environments first, while somebody is there to take them down.
    let operator = world.operator();
    people_work(&world);
    world.kubectl.run(["delete", "penv", "--all", "--namespace", "pf-1", "--timeout=45s"]).unwrap();
    assert!(operator.terminate().success());
    world.helm(&["uninstall", NAME]);
    eventually("the end of the kinds", || world.inventory().is_empty().then_some(()));
}

fn served(kubectl: &Kubectl) {
    eventually("the kinds", || kubectl.run(["get", &KINDS.join(","), "--all-namespaces"]).ok());
}

/// A project with an environment.
fn people_work(world: &World) {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "pf-1", "labels": {"platform.puraify.app/project-id": "pf_1"}}}),
        json!({"apiVersion": "platform.puraify.app/v1alpha1", "kind": "PlatformEnvironment",
               "metadata": {"name": "dev", "namespace": "pf-1"}, "spec": {"class": "Development", "config": {}}}),
    ];
    world.kubectl.create(&objects.map(|object| object.to_string()).join("\n")).unwrap();
    world.wait_ready("dev");
}

/// `helm test`. There is no node that could run its pod, so the pod's command is run here, and its end is told in its place.
fn check(world: &World) {
    let mut helm = world.helm.command(["test", NAME, "--namespace", NAMESPACE, "--timeout", "1m"]);
    let helm = helm.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let name = format!("{NAME}-check");
    let pod =
        eventually("the pod of the test", || world.kubectl.json(["get", "pod", &name, "--namespace", NAMESPACE]).ok());
    let container = &pod["spec"]["containers"][0];
    let args: Vec<&str> = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap();
    let kubeconfig = world.plane.service_account_kubeconfig(NAMESPACE, account).unwrap();
    let output = Operator::command(&args).arg("--kubeconfig").arg(kubeconfig).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("ok      the admission policies hold"), "{said}");
    let ended = json!({"status": {"phase": "Succeeded"}}).to_string();
    let patch =
        ["patch", "pod", &name, "--namespace", NAMESPACE, "--subresource=status", "--type=merge", "--patch", &ended];
    world.kubectl.run(patch).unwrap();
    let tested = helm.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(tested.status.success() && said.contains("Phase:          Succeeded"), "{said}");
}
