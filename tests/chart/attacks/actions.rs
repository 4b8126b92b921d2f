//! What is tried, and which rights it needs.

#![allow(clippy::needless_pass_by_value, reason = "a table of literals reads better without ampersands")]

mod table;

use http::Method;
use serde_json::{Value, json};

use super::{
    actors::Actor,
    requests::{Asked, Form},
};
use crate::support::{Project, eventually};

/// In a body: the name of whoever asks.
const ME: &str = "$ME";

/// What should come of an action.
#[derive(Clone, Debug)]
pub enum Allowed {
    Yes,
    /// RBAC does not let it through to the policies.
    NotByRbac,
    /// Refused in one of these words.
    Refused(Vec<String>),
}

/// One thing to try.
#[derive(Clone, Debug)]
pub struct Action {
    pub what: String,
    request: Asked,
    /// What RBAC asks for: a verb and a resource.
    rbac: (&'static str, &'static str),
    needs: Vec<Need>,
}

/// What it takes beyond RBAC, and what the API server says where it is missing.
#[derive(Clone, Debug)]
enum Need {
    /// This verb on this object.
    Verb(&'static str, &'static str, &'static str, &'static str),
    /// To be this user, or to have this verb on this environment.
    UserOrVerb(String, &'static str, &'static str, &'static str),
    /// To be this user.
    User(String, &'static str),
    /// To be somebody else.
    NotUser(String, &'static str),
    /// To be a person.
    Person(&'static str),
    /// Nobody may.
    Never(&'static str),
}

/// What is there when the actors come.
pub struct Scene {
    namespace: String,
    author: String,
    other: String,
    /// The digest of the plan of the promotion `p`.
    plan: String,
    /// What the manager said to the promotion `confirmed`.
    confirmed: Value,
    digest: String,
    validations: Vec<Value>,
    revision: Value,
}

/// A project with three environments, two promotions into production, and results of validations.
pub fn scene(project: &Project, actors: &[Actor]) -> Scene {
    let user = |name: &str| actors.iter().find(|actor| actor.name == name).unwrap().user.clone();
    let (author, other) = (user("author"), user("manager"));
    project.version("v1.0.0");
    project.version("v1.1.0");
    for (name, class) in [("dev", "Development"), ("staging", "Staging")] {
        project.environment(name).class(class).starting_with("v1.0.0").ready();
    }
    let rules = json!({"confirmations": {"required": 2}});
    let production = project.environment("production").class("Production").starting_with("v1.0.0");
    let production = production.with("promotion", rules).ready();
    production.deployed();
    project.validate("v1.0.0", "schema", "Passed");
    let kubectl = |name: &str| project.cluster().kubectl_as(project.cluster().plane().person(name, &[]).unwrap());
    for name in ["p", "confirmed"] {
        let spec = json!({"target": "production", "source": {"version": "v1.1.0"}});
        let manifest = crate::support::Promotion::manifest(project, name, &spec);
        kubectl(&author).create(&manifest.to_string()).unwrap();
        project.existing_promotion(name).wait_for("a plan", |status| status.plan.is_some());
    }
    let digest = |name: &str| project.existing_promotion(name).status().plan.unwrap().digest.to_string();
    let (plan, confirmed) = (digest("p"), json!({"user": other, "digest": digest("confirmed")}));
    let patch = json!({"spec": {"confirmations": [confirmed]}}).to_string();
    let args =
        ["patch", "promo", "confirmed", "--namespace", project.namespace(), "--type", "merge", "--patch", &patch];
    kubectl(&other).run(args).unwrap();
    let get = |kind: &str, name: &str| project.cluster().get(kind, project.namespace(), name);
    let version = eventually("the result of the validation", || {
        get("pver", "v1.0.0").filter(|version| version["status"]["validations"].is_array())
    });
    Scene {
        namespace: project.namespace().to_owned(),
        author,
        other,
        plan,
        confirmed,
        digest: version["status"]["digest"].as_str().unwrap().to_owned(),
        validations: version["status"]["validations"].as_array().unwrap().clone(),
        revision: get("erev", "dev-1").unwrap(),
    }
}

impl Action {
    /// What the rights say of this actor.
    pub fn expected(&self, actor: &Actor) -> Allowed {
        let (verb, resource) = self.rbac;
        if !actor.may(verb, resource, "") {
            return Allowed::NotByRbac;
        }
        let missing: Vec<String> =
            self.needs.iter().filter_map(|need| need.missing(actor)).map(str::to_owned).collect();
        if missing.is_empty() { Allowed::Yes } else { Allowed::Refused(missing) }
    }

    /// Whether nobody may.
    pub fn never(&self) -> bool {
        self.needs.iter().any(|need| matches!(need, Need::Never(_)))
    }

    /// As this actor asks for it.
    pub fn request(&self, actor: &Actor) -> Asked {
        let body = self.request.body.to_string().replace(ME, &actor.user);
        Asked { body: serde_json::from_str(&body).unwrap(), ..self.request.clone() }
    }

    fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// The verb on an environment.
    fn right(self, verb: &'static str, environment: &'static str, words: &'static str) -> Self {
        self.needs(Need::Verb(verb, "platformenvironments", environment, words))
    }

    fn nobody(self, words: &'static str) -> Self {
        self.needs(Need::Never(words))
    }
}

impl Need {
    fn missing(&self, actor: &Actor) -> Option<&'static str> {
        let (holds, words) = match self {
            Self::Verb(verb, resource, name, words) => (actor.may(verb, resource, name), words),
            Self::UserOrVerb(user, verb, name, words) => {
                (actor.user == *user || actor.may(verb, "platformenvironments", name), words)
            }
            Self::User(user, words) => (actor.user == *user, words),
            Self::NotUser(user, words) => (actor.user != *user, words),
            Self::Person(words) => (!actor.user.starts_with("system:serviceaccount:"), words),
            Self::Never(words) => (false, words),
        };
        (!holds).then_some(*words)
    }
}

/// All that is tried, and each change in all forms that a change can have.
pub fn all(scene: &Scene) -> Vec<Action> {
    let actions = [
        table::asking(scene),
        table::confirming(scene),
        table::changing(scene),
        table::environments(scene),
        table::reporting(scene),
        table::history(scene),
        table::namespaces(scene),
    ]
    .concat();
    actions.into_iter().flat_map(in_all_forms).collect()
}

fn in_all_forms(action: Action) -> Vec<Action> {
    if action.request.form != Form::MergePatch {
        return vec![action];
    }
    let as_form = |form: Form, how: &str| {
        let mut other = action.clone();
        other.what = format!("{} ({how})", action.what);
        other.request.form = form;
        other
    };
    let mut replace = as_form(Form::Replace, "by replace");
    replace.rbac.0 = "update";
    let mut forms = vec![action.clone(), replace, as_form(Form::JsonPatch, "by JSON patch")];
    // An apply adds; it cannot take away what another one owns.
    let takes_away = |text: &str| text.contains("null") || text.contains("[]");
    if action.never() && !takes_away(&action.request.body.to_string()) {
        let mut apply = as_form(Form::Apply, "by apply");
        apply.needs = vec![Need::Never("")];
        forms.push(apply);
    }
    forms
}

impl Scene {
    fn path(&self, resource: &str) -> String {
        let (kind, rest) = resource.split_once('/').unwrap_or((resource, ""));
        let path = format!("/apis/platform.puraify.app/v1alpha1/namespaces/{}/{kind}", self.namespace);
        if rest.is_empty() { path } else { format!("{path}/{rest}") }
    }

    fn create(&self, what: &'static str, resource: &'static str, kind: &str, name: &str, spec: Value) -> Action {
        self.create_with(what, resource, kind, json!({"name": name}), spec)
    }

    fn create_with(
        &self,
        what: &'static str,
        resource: &'static str,
        kind: &str,
        metadata: Value,
        spec: Value,
    ) -> Action {
        let body =
            json!({"apiVersion": "platform.puraify.app/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        let request = Asked { method: Method::POST, path: self.path(resource), form: Form::AsItIs, body };
        Action { what: what.to_owned(), request, rbac: ("create", resource), needs: vec![] }
    }

    /// A merge patch of an object, or of its status.
    fn patch(&self, what: &'static str, resource: &'static str, name: &str, body: Value) -> Action {
        let path = match resource.split_once('/') {
            Some((kind, subresource)) => format!("{}/{name}/{subresource}", self.path(kind)),
            None => format!("{}/{name}", self.path(resource)),
        };
        let request = Asked { method: Method::PATCH, path, form: Form::MergePatch, body };
        Action { what: what.to_owned(), request, rbac: ("patch", resource), needs: vec![] }
    }

    fn delete(&self, what: &'static str, resource: &'static str, name: &str) -> Action {
        let path = format!("{}/{name}", self.path(resource));
        let request = Asked { method: Method::DELETE, path, form: Form::AsItIs, body: Value::Null };
        Action { what: what.to_owned(), request, rbac: ("delete", resource), needs: vec![] }
    }

    fn promotion(&self, what: &'static str, spec: Value) -> Action {
        self.create(what, "promotions", "Promotion", "try", spec)
    }

    fn confirm(&self, what: &'static str, name: &str, confirmations: Value) -> Action {
        self.patch(what, "promotions", name, json!({"spec": {"confirmations": confirmations}}))
    }
}
