//! The chart, as helm installs it, and people with its roles.

use std::{io::Write as _, process::Stdio};

use devcluster::{ControlPlane, Kubectl, Result};
use environment_manager::api::Digest;
use serde_json::{Value, json};

/// The release, and the name of everything in it.
pub const NAME: &str = "environment-manager";
/// The namespace of the release.
pub const NAMESPACE: &str = "environment-manager";
/// Where the chart is.
pub const CHART: &str = "charts/environment-manager";
/// The label of namespaces in which somebody gets past the API server's guard: whoever restores etcd, or takes the policies away.
pub const UNGUARDED: &str = "tests.example.com/unguarded";

/// Who has which roles, in all projects.
const PEOPLE: [(&str, &str); 5] = [
    ("builder", "people"),
    ("release-manager", "people"),
    ("on-call", "people"),
    ("deployment-planner", "planners"),
    ("validator", "validators"),
];

/// Installs it with these further arguments, and gives people their roles.
pub fn install(plane: &ControlPlane, args: &[&str]) -> Result<()> {
    let install = ["install", NAME, CHART, "--namespace", NAMESPACE, "--create-namespace"];
    plane.helm()?.run(install.iter().chain(args))?;
    let binding = |(role, group): (&str, &str)| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{group}-{role}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("{NAME}-{role}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        })
    };
    let bindings: Vec<String> = PEOPLE.map(binding).iter().map(Value::to_string).collect();
    plane.kubectl().create(&bindings.join("\n"))?;
    Ok(())
}

/// Has the policies look away where a namespace is labelled for it.
pub fn exempt_unguarded(kubectl: &Kubectl) {
    let kind = "validatingadmissionpolicybindings";
    let elsewhere = json!({"spec": {"matchResources": {"namespaceSelector": {
        "matchExpressions": [{"key": UNGUARDED, "operator": "DoesNotExist"}],
    }}}});
    let names = kubectl.run(["get", kind, "--output", "name"]).unwrap();
    assert!(names.lines().count() > 5, "{names}");
    for name in names.lines() {
        kubectl.run(["patch", name, "--type", "merge", "--patch", &elsewhere.to_string()]).unwrap();
    }
}

/// What is otherwise here than in a pod: the address, and where files are mounted.
const OF_THE_POD: [&str; 4] = ["--listen", "--log-format", "--vault-token-file", "--vault-ca-file"];

/// The arguments of the operator's container, but for those that only make sense in a pod.
pub fn operator_args(kubectl: &Kubectl) -> Vec<String> {
    let deployment = kubectl.json(["get", "deployment", NAME, "--namespace", NAMESPACE]).unwrap();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned());
    args.filter(|arg| !OF_THE_POD.iter().any(|only| arg.starts_with(only))).collect()
}

/// Has the time go by for which the Lease of an operator that is gone keeps others away.
pub fn free_lease(kubectl: &Kubectl) {
    kubectl.run(["delete", "lease", NAME, "--namespace", NAMESPACE, "--ignore-not-found"]).unwrap();
}

/// Whether the API server has the schemas that it needs to stamp who acts. For some seconds after the kinds were installed it
/// has not, and asks to be asked again (503).
pub fn is_stamped(kubectl: &Kubectl) -> bool {
    ["PlatformEnvironment", "PlatformVersion", "Promotion"].into_iter().all(|kind| {
        let spec = match kind {
            "PlatformEnvironment" => json!({"class": "Development", "config": {}}),
            "PlatformVersion" => json!({"version": "v1.0.0", "content": {"flows": {"A": Digest::of(b"a")}}}),
            _ => json!({"target": "dev", "source": {"version": "v1.0.0"}, "dryRun": true}),
        };
        let name = if kind == "PlatformVersion" { "v1.0.0" } else { "probe" };
        let object = json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        });
        let mut command = kubectl.command(["create", "--dry-run=server", "--output", "json", "--filename", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let refused = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || refused.contains("not found"), "{kind}: {refused}");
        String::from_utf8_lossy(&output.stdout).contains("platform.puraify.app/created-by")
    })
}
