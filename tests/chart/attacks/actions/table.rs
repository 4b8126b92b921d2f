//! The table: who asks for what, and what that needs.

use environment_manager::api::Digest;
use http::Method;
use serde_json::{Value, json};

use super::{
    super::requests::{Asked, Form},
    Action, ME, Need, Scene,
};

const PROMOTE: &str = "the verb promote on platformenvironments/";
const ROLLBACK: &str = "the verb rollback on platformenvironments/production";
const OVERRIDE: &str = "the verb override on platformenvironments/production";
const GOVERN: &str = "the verb govern on platformenvironments/";

pub(super) fn asking(scene: &Scene) -> Vec<Action> {
    let version = json!({"version": "v1.1.0"});
    let to = |target: &str| json!({"target": target, "source": version});
    let with = |mut spec: Value, field: &str, value: Value| {
        spec[field] = value;
        spec
    };
    let back = json!({"target": "production", "source": {"revision": 1}});
    let noted = |what, key: &str, value: &str| {
        let metadata = json!({"name": "try", "annotations": {key: value}});
        scene.create_with(what, "promotions", "Promotion", metadata, to("dev")).right("promote", "dev", PROMOTE)
    };
    vec![
        scene.promotion("promote into dev", to("dev")).right("promote", "dev", PROMOTE),
        scene.promotion("promote into staging", to("staging")).right("promote", "staging", PROMOTE),
        scene.promotion("promote into production", to("production")).right("promote", "production", PROMOTE),
        scene.promotion("promote into what is not there", to("nowhere")).right("promote", "nowhere", PROMOTE),
        scene
            .promotion(
                "release pending configuration",
                json!({"target": "production", "source": {"pendingConfig": true}}),
            )
            .right("promote", "production", PROMOTE),
        scene.promotion("roll back production", back.clone()).right("rollback", "production", ROLLBACK),
        scene
            .promotion("roll back production at once", with(back, "emergency", json!(true)))
            .right("rollback", "production", ROLLBACK)
            .right("override", "production", OVERRIDE),
        scene
            .promotion("lift a veto", with(to("production"), "liftVeto", json!(true)))
            .right("promote", "production", PROMOTE)
            .right("override", "production", OVERRIDE),
        scene.promotion("have it worked out only", with(to("production"), "dryRun", json!(true))),
        scene
            .promotion("bring a confirmation along", with(to("dev"), "confirmations", json!([scene.confirmed])))
            .right("promote", "dev", PROMOTE)
            .nobody("a promotion is created without"),
        noted("say that somebody else asks", "platform.puraify.app/created-by", "somebody else")
            .nobody("created-by is somebody else"),
        noted("say that the operator asks", "platform.puraify.app/created-by", "environment-manager")
            .nobody("created-by is environment-manager"),
        noted("say who asks, truly", "platform.puraify.app/created-by", ME),
        noted("say that somebody else changed it", "platform.puraify.app/changed-by", "somebody else")
            .nobody("changed-by is somebody else"),
        noted("say that a rule asks", "platform.puraify.app/auto", "true").nobody("the operator's own"),
        noted("say that it has ended", "platform.puraify.app/ended", "Cancelled").nobody("the operator's own"),
        scene.promotion("another project's target", to("../other/production")).nobody("spec.target"),
        scene
            .promotion("another project's source", json!({"target": "dev", "source": {"environment": "other/staging"}}))
            .nobody("spec.source.environment"),
        scene
            .promotion("another project's version", json!({"target": "dev", "source": {"version": "../other/v1"}}))
            .nobody("spec.source.version"),
        scene.promotion("a giant", with(to("dev"), "reason", json!("x".repeat(100_000)))).nobody("Too long"),
        scene
            .promotion("more than anybody can send", with(to("dev"), "reason", json!("x".repeat(4 << 20))))
            .nobody("too large"),
    ]
}

pub(super) fn confirming(scene: &Scene) -> Vec<Action> {
    let yes = |user: &str, digest: &str| json!({"user": user, "digest": digest});
    let old = Digest::of(b"another plan").to_string();
    let confirm = |what, digest: &str| {
        scene
            .confirm(what, "p", json!([yes(ME, digest)]))
            .right("confirm", "production", "the verb confirm on platformenvironments/production")
            .needs(Need::NotUser(scene.author.clone(), "somebody else has to confirm it"))
            .needs(Need::Person("is a ServiceAccount"))
    };
    vec![
        confirm("confirm", &scene.plan),
        confirm("confirm another plan", &old).nobody("not that of the plan as it is now"),
        scene
            .confirm("confirm as the manager", "p", json!([yes(&scene.other, &scene.plan)]))
            .needs(Need::User(scene.other.clone(), "in the name of"))
            .right("confirm", "production", "the verb confirm on platformenvironments/production"),
        scene
            .confirm("confirm as somebody who is not there", "p", json!([yes("zoe", &scene.plan)]))
            .nobody("in the name of zoe"),
        scene
            .confirm("confirm as two", "p", json!([yes(ME, &scene.plan), yes("zoe", &scene.plan)]))
            .nobody("in the name of zoe"),
        scene
            .confirm("confirm beside another", "confirmed", json!([scene.confirmed, yes(ME, &old)]))
            .right("confirm", "production", "the verb confirm")
            .needs(Need::NotUser(scene.author.clone(), "somebody else has to confirm it"))
            .needs(Need::Person("is a ServiceAccount"))
            .nobody("not that of the plan"),
        scene.confirm("take a confirmation back", "confirmed", json!([])).nobody("only ever added"),
        scene.confirm("change a confirmation", "confirmed", json!([yes(&scene.other, &old)])).nobody("only ever added"),
    ]
}

/// Changes of a promotion that is there, in every way that there is.
pub(super) fn changing(scene: &Scene) -> Vec<Action> {
    let immutable = "cannot be changed";
    let other = json!({"target": "dev", "source": {"version": "v1.1.0"}});
    vec![
        scene.patch("another target", "promotions", "p", json!({"spec": other})).nobody(immutable),
        scene.patch("another reason", "promotions", "p", json!({"spec": {"reason": "other"}})).nobody(immutable),
        scene.patch("cancel", "promotions", "p", json!({"spec": {"cancel": true}})).needs(Need::UserOrVerb(
            scene.author.clone(),
            "promote",
            "production",
            "may not cancel it",
        )),
        scene
            .patch(
                "another author",
                "promotions",
                "p",
                json!({"metadata": {"annotations": {"platform.puraify.app/created-by": ME}}}),
            )
            .needs(Need::User(scene.author.clone(), "cannot be changed")),
        scene
            .patch(
                "another changer",
                "promotions",
                "p",
                json!({"metadata": {"annotations": {"platform.puraify.app/changed-by": "zoe"}}}),
            )
            .nobody("changes with the spec only"),
        scene
            .patch(
                "an end",
                "promotions",
                "p",
                json!({"metadata": {"annotations": {"platform.puraify.app/ended": "Rejected"}}}),
            )
            .nobody("the operator's own"),
        scene.patch("a label", "promotions", "p", json!({"metadata": {"labels": {"team": "shop"}}})),
        scene
            .patch("an outcome", "promotions/status", "p", json!({"status": {"phase": "Succeeded"}}))
            .nobody("it is the operator's"),
        scene
            .patch("gates that passed", "promotions/status", "p", json!({"status": {"gates": []}}))
            .nobody("it is the operator's"),
        scene
            .patch("how long it is kept", "promotions", "p", json!({"spec": {"ttlAfterFinished": "0s"}}))
            .needs(Need::UserOrVerb(scene.author.clone(), "promote", "production", "how long it is kept")),
        scene
            .patch("hold a promotion", "promotions", "p", json!({"metadata": {"finalizers": ["example.com/held"]}}))
            .needs(Need::UserOrVerb(scene.author.clone(), "promote", "production", "hold it by finalizers")),
        scene
            .create(
                "take the name of an automatic one",
                "promotions",
                "Promotion",
                "production-auto-v1.1.0",
                json!({"target": "dev", "source": {"version": "v1.1.0"}, "dryRun": true}),
            )
            .nobody("names with -auto-"),
        scene.patch("a promotion's owner that is not there", "promotions", "p", stray_owner()).needs(Need::Verb(
            "govern",
            "promotions",
            "p",
            "the verb govern on promotions/p",
        )),
        scene.delete("delete a promotion", "promotions", "p"),
    ]
}

/// Garbage collection deletes what has nothing but such an owner.
fn stray_owner() -> Value {
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"});
    json!({"metadata": {"ownerReferences": [owner]}})
}

pub(super) fn environments(scene: &Scene) -> Vec<Action> {
    let create = |what, name: &str, spec| scene.create(what, "platformenvironments", "PlatformEnvironment", name, spec);
    let edit = |what, name: &str, spec| scene.patch(what, "platformenvironments", name, json!({"spec": spec}));
    let delete = |what, name: &str| scene.delete(what, "platformenvironments", name);
    let preview =
        |base: &str| json!({"class": "Preview", "ttl": "1h", "config": {}, "baseFrom": {"environment": base}});
    let lax = json!({"promotion": {"confirmations": null}});
    vec![
        create("a new environment", "qa", json!({"class": "Development", "config": {}})),
        create("a new production", "other", json!({"class": "Production", "config": {}}))
            .right("govern", "other", GOVERN),
        create("clone dev", "qa", preview("dev")).right("clone", "dev", "the verb clone on platformenvironments/dev"),
        create("clone production", "qa", preview("production")).right(
            "clone",
            "production",
            "the verb clone on platformenvironments/production",
        ),
        create("clone another project's", "qa", preview("other/production")).nobody("spec.baseFrom.environment"),
        create("a name with two hyphens", "a--b", json!({"class": "Development", "config": {}})).nobody("two hyphens"),
        create("a name that is a path", "../b", json!({"class": "Development", "config": {}})).nobody("../b"),
        edit(
            "production's configuration",
            "production",
            json!({"config": {"flags": [{"name": "F", "enabled": true}]}}),
        ),
        edit("production's rules", "production", lax.clone()).right("govern", "production", GOVERN),
        edit("staging's rules", "staging", json!({"promotion": {"from": ["dev"]}})).right("govern", "staging", GOVERN),
        edit("dev's rules", "dev", json!({"promotion": {"queue": "Supersede"}})),
        edit("have dev follow by itself", "dev", json!({"promotion": {"auto": true}})).right("promote", "dev", PROMOTE),
        scene.patch("an owner that is not there", "platformenvironments", "production", stray_owner()).right(
            "govern",
            "production",
            "the verb govern on platformenvironments/production",
        ),
        edit("production's isolation", "production", json!({"isolation": {"network": {"internet": true}}})).right(
            "govern",
            "production",
            GOVERN,
        ),
        edit("production's history", "production", json!({"revisionHistoryLimit": 2})).right(
            "govern",
            "production",
            GOVERN,
        ),
        edit("production's end", "production", json!({"deletionPolicy": "Retain"})).right(
            "govern",
            "production",
            GOVERN,
        ),
        scene
            .patch(
                "a label on production",
                "platformenvironments",
                "production",
                json!({"metadata": {"labels": {"team": "x"}}}),
            )
            .right("govern", "production", GOVERN),
        scene
            .patch(
                "hold production",
                "platformenvironments",
                "production",
                json!({"metadata": {"finalizers": ["platform.puraify.app/environment", "example.com/held"]}}),
            )
            .right("govern", "production", GOVERN),
        edit("another class", "production", json!({"class": "Development"})).nobody("class cannot be changed"),
        edit("another base", "dev", json!({"baseFrom": {"environment": "production"}})).nobody("baseFrom"),
        delete("delete production", "production").right("govern", "production", GOVERN),
        delete("delete staging", "staging").right("govern", "staging", GOVERN),
        delete("delete dev", "dev"),
        scene
            .patch("strip the finalizer", "platformenvironments", "dev", json!({"metadata": {"finalizers": null}}))
            .right("govern", "dev", GOVERN),
        scene
            .patch(
                "another creator",
                "platformenvironments",
                "dev",
                json!({"metadata": {"annotations": {"platform.puraify.app/created-by": ME}}}),
            )
            .needs(Need::User("admin".to_owned(), "cannot be changed")),
    ]
}

pub(super) fn reporting(scene: &Scene) -> Vec<Action> {
    let deployment = |what, report: Value| {
        let body = json!({"status": {"deployment": report}});
        scene.patch(what, "platformenvironments/status", "dev", body).right("report", "dev", "the verb report")
    };
    let of = |name: &str, reporter: &str| json!({"name": name, "result": "Passed", "digest": scene.digest, "reporter": reporter, "at": "2026-01-01T00:00:00Z"});
    let validations = |what, results: Vec<Value>| {
        let body = json!({"status": {"validations": results}});
        let action = scene.patch(what, "platformversions/status", "v1.0.0", body);
        action.needs(Need::Verb("validate", "platformversions", "v1.0.0", "the verb validate"))
    };
    let mut forged = scene.validations.clone();
    forged[0]["result"] = json!("Failed");
    let status = |what, field: &str, value: Value| {
        scene.patch(what, "platformenvironments/status", "dev", json!({"status": {field: value}}))
    };
    vec![
        deployment("report", json!({"revision": 1, "state": "Succeeded"})),
        deployment("report by name", json!({"revision": 1, "state": "Failed", "reportedBy": ME})),
        deployment("report as another", json!({"revision": 1, "state": "Succeeded", "reportedBy": "zoe"}))
            .nobody("reportedBy: you are"),
        status("take a report back", "deployment", Value::Null).right("report", "dev", "the verb report"),
        status("another phase", "phase", json!("Degraded")).nobody("it is the operator's"),
        status("another release", "release", json!({"version": "v9.9.9"})).nobody("it is the operator's"),
        status("no conditions", "conditions", json!([])).nobody("it is the operator's"),
        validations("validate", [&scene.validations[..], &[of("e2e", ME)]].concat()),
        validations("validate as another", [&scene.validations[..], &[of("e2e", "zoe")]].concat())
            .nobody("in the name of zoe"),
        validations("turn another's result", forged).nobody("in the name of ci"),
        validations("take another's result away", vec![]).nobody("to take back"),
        scene
            .patch(
                "another digest",
                "platformversions/status",
                "v1.0.0",
                json!({"status": {"digest": Digest::of(b"x")}}),
            )
            .nobody("it is the operator's"),
        scene
            .patch("another content", "platformversions", "v1.0.0", json!({"spec": {"content": {"flows": null}}}))
            .nobody("immutable"),
        scene.create(
            "publish a version",
            "platformversions",
            "PlatformVersion",
            "v9.0.0",
            json!({"version": "v9.0.0", "content": {"flows": {"A": Digest::of(b"a")}}}),
        ),
    ]
}

pub(super) fn history(scene: &Scene) -> Vec<Action> {
    let alone = "the history is written by the operator alone";
    let mut next = scene.revision["spec"].clone();
    next["revision"] = json!(2);
    let revisions = "environmentrevisions";
    vec![
        scene.create("forge the next revision", revisions, "EnvironmentRevision", "dev-2", next).nobody(alone),
        scene.patch("label a revision", revisions, "dev-1", json!({"metadata": {"labels": {"a": "b"}}})).nobody(alone),
        scene
            .patch("hold a revision", revisions, "dev-1", json!({"metadata": {"finalizers": ["example.com/held"]}}))
            .nobody(alone),
        scene
            .patch("rewrite a revision", revisions, "dev-1", json!({"spec": {"actor": "zoe"}}))
            .nobody("history cannot be changed"),
        scene.delete("delete a revision", revisions, "dev-1").nobody(alone),
        scene
            .patch(
                "another outcome",
                "environmentrevisions/status",
                "dev-1",
                json!({"status": {"deployment": {"state": "Succeeded"}}}),
            )
            .nobody("it is the operator's"),
    ]
}

pub(super) fn namespaces(scene: &Scene) -> Vec<Action> {
    let project = &scene.namespace;
    let managed = format!("{project}--dev");
    let ask = |what: &str, method: Method, path: String, body: Value, rbac: (&'static str, &'static str)| {
        let form = if method == Method::PATCH { Form::MergePatch } else { Form::AsItIs };
        let request = Asked { method, path: format!("/api/v1/namespaces{path}"), form, body };
        Action { what: what.to_owned(), request, rbac, needs: vec![] }
    };
    let patch = |what, name: &str, body| ask(what, Method::PATCH, format!("/{name}"), body, ("patch", "namespaces"));
    let labels = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    let squat = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": format!("{project}--squat"), "labels": {"platform.puraify.app/environment-uid": "1"}}});
    let own = "the operator alone writes them";
    let register = Need::Verb("register", "projects", "", "the verb register");
    vec![
        ask("a namespace with our mark", Method::POST, String::new(), squat, ("create", "namespaces")).nobody(own),
        patch("our mark on kube-system", "kube-system", labels("platform.puraify.app/environment-uid", json!("1")))
            .nobody(own),
        patch("no mark", &managed, labels("platform.puraify.app/environment-uid", Value::Null)).nobody(own),
        patch("another class", &managed, labels("platform.puraify.app/class", json!("Production"))).nobody(own),
        patch("another environment", &managed, labels("platform.puraify.app/environment", json!("production")))
            .nobody(own),
        patch(
            "as if retained",
            &managed,
            json!({"metadata": {"annotations": {"platform.puraify.app/retained": "true"}}}),
        )
        .nobody("the operator's own"),
        patch("a finalizer", &managed, json!({"metadata": {"finalizers": ["example.com/held"]}}))
            .nobody("belongs to environment dev"),
        patch("an owner that is not there", &managed, stray_owner()).nobody("goes with it alone"),
        patch("another project id", project, labels("platform.puraify.app/project-id", json!("other"))).needs(register),
        patch("a label of their own", &managed, labels("team", json!("shop"))),
    ]
}
