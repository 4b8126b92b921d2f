//! Who may do what: every actor tries every action, and the API server answers as the rights say.
//!
//! The expectation is computed from two tables: what each actor was given ([`actors`]), and what each action needs
//! ([`actions`]). All of it is asked as a dry run, which goes through authentication, RBAC and all policies, and changes nothing.

mod actions;
mod actors;
mod requests;

use std::collections::BTreeMap;

use actions::{Action, Allowed};
use actors::Actor;
use http::Method;
use kube::Client;
use requests::{Answer, Asked, Attackers, Form};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::Project;

#[test]
fn everybody_may_do_what_they_were_given_the_right_to_and_nothing_else() {
    let project = Project::new("shop");
    let actors = actors::all(&project);
    let scene = actions::scene(&project, &actors);
    let attackers = Attackers::new(&project, &actors);
    let mut wrong = vec![];
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let actions = actions::all(&scene);
    for action in &actions {
        for actor in &actors {
            let expected = action.expected(actor);
            let answer = attackers.ask(actor, &action.request(actor));
            counts.entry(actor.name).or_default()[usize::from(answer.allowed())] += 1;
            if let Some(surprise) = surprise(action, actor, &expected, &answer) {
                wrong.push(surprise);
            }
        }
    }
    let tried: usize = counts.values().flatten().sum();
    for (actor, [refused, allowed]) in &counts {
        println!("{actor:<10} {refused:>3} refused, {allowed:>3} allowed");
    }
    println!(
        "{} actions by {} actors: {tried} tried, {} otherwise than the rights say",
        actions.len(),
        actors.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // An action that is refused to nobody, or allowed to nobody without a reason, tells nothing.
    for action in &actions {
        let allowed = actors.iter().filter(|actor| matches!(action.expected(actor), Allowed::Yes)).count();
        assert!(allowed < actors.len(), "{} is refused to nobody", action.what);
        assert!(allowed > 0 || action.never(), "{} is allowed to nobody", action.what);
    }
}

/// What is otherwise than expected, if anything is.
fn surprise(action: &Action, actor: &Actor, expected: &Allowed, answer: &Answer) -> Option<String> {
    let fits = match expected {
        Allowed::Yes => answer.allowed(),
        Allowed::NotByRbac => answer.code == 403 && answer.message.contains("cannot"),
        Allowed::Refused(words) => !answer.allowed() && words.iter().any(|words| answer.message.contains(words)),
    };
    (!fits).then(|| format!("{} by {}: expected {expected:?}, got {answer:?}", action.what, actor.name))
}

/// What somebody can do who has stolen the operator's token: what it does in projects and environments, and nothing elsewhere.
#[test]
fn the_operators_token_is_of_no_use_outside_of_environments() {
    let project = Project::new("shop");
    let dev = project.environment("dev").ready();
    let thief = Thief::new(&project);
    let configmap = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let into = |namespace: &str, kind: &str| format!("/api/v1/namespaces/{namespace}/{kind}");
    let outside = "only into namespaces of environments";
    let (own, managed) = (project.namespace(), dev.namespace());
    for namespace in ["kube-system", "default", "environment-manager", own] {
        thief.refused(Method::POST, &into(namespace, "configmaps"), &configmap, outside);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}});
        thief.refused(Method::POST, &into(namespace, "serviceaccounts"), &account, outside);
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x"},
                            "spec": {"podSelector": {}}});
        let policies = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies");
        thief.refused(Method::POST, &policies, &policy, outside);
        // Some the API server protects by itself.
        let deletion =
            if namespace == own || namespace == "environment-manager" { outside } else { "may not be deleted" };
        thief.refused(Method::DELETE, &format!("/api/v1/namespaces/{namespace}"), &Value::Null, deletion);
        let mark = json!({"metadata": {"labels": {"platform.puraify.app/environment-uid": "1"}}});
        thief.refused(Method::PATCH, &format!("/api/v1/namespaces/{namespace}"), &mark, outside);
    }
    let bind = |role: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "x"},
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
               "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]})
    };
    let bindings = |namespace: &str| format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
    thief.refused(Method::POST, &bindings("kube-system"), &bind("view"), outside);
    // Only those on the list, whatever the namespace.
    thief.refused(Method::POST, &bindings(&managed), &bind("cluster-admin"), "attempting to grant RBAC permissions");
    thief.refused(Method::POST, &bindings(&managed), &bind("edit"), "attempting to grant RBAC permissions");
    let bare = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}});
    thief.refused(Method::POST, "/api/v1/namespaces", &bare, outside);
    let marked = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "mine", "labels": {"platform.puraify.app/environment-uid": "1"}}});
    thief.refused(Method::POST, "/api/v1/namespaces", &marked, "<project>--<environment>");
    for (group, kind, namespace) in
        [("/api/v1", "secrets", own), ("/api/v1", "secrets", &managed), ("/api/v1", "pods", &managed)]
    {
        thief.refused(
            Method::GET,
            &format!("{group}/namespaces/{namespace}/{kind}"),
            &Value::Null,
            "cannot list resource",
        );
    }
    let event = |about: &str| {
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "x"}, "type": "Normal", "reason": "X",
               "action": "X", "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "kubelet",
               "reportingInstance": "x", "regarding": {"apiVersion": about, "kind": "Pod", "namespace": "default"}})
    };
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    thief.refused(Method::POST, events, &event("v1"), "events of its own");
    thief.allowed(Method::POST, events, &event("platform.puraify.app/v1alpha1"));
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/environment-manager-writes";
    thief.refused(Method::DELETE, policies, &Value::Null, "cannot delete resource");
    thief.refused(
        Method::POST,
        &format!("{}/token", into(&managed, "serviceaccounts/workload")),
        &Value::Null,
        "cannot create resource",
    );
    thief.allowed(Method::POST, &into(&managed, "configmaps"), &configmap);
}

/// Who has the operator's token.
struct Thief {
    runtime: Runtime,
    client: Client,
}

impl Thief {
    fn new(project: &Project) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(requests::connect(project.cluster().operator_kubeconfig()));
        Self { runtime, client }
    }

    fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let form = if method == Method::PATCH { Form::MergePatch } else { Form::AsItIs };
        let asked = Asked { method, path: path.to_owned(), form, body: body.clone() };
        self.runtime.block_on(requests::send(&self.client, &asked))
    }

    #[track_caller]
    fn refused(&self, method: Method, path: &str, body: &Value, words: &str) {
        let answer = self.ask(method, path, body);
        assert!(!answer.allowed() && answer.message.contains(words), "{path}: {answer:?}");
    }

    #[track_caller]
    fn allowed(&self, method: Method, path: &str, body: &Value) {
        let answer = self.ask(method, path, body);
        assert!(answer.allowed(), "{path}: {answer:?}");
    }
}
