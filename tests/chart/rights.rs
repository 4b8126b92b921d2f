//! Least privilege, by the API server's own account: what the operator is granted it uses, and what it uses it is granted.

use std::fs;

use devcluster::Options;
use environment_manager::api::PromotionPhase;
use serde_json::json;

use crate::support::{Child, Cluster, Operator, Project, audit::Uses, eventually};

#[test]
fn every_right_is_used_and_nothing_is_used_that_is_no_right() {
    // Without streaming lists, which not every version has: then it lists.
    let options =
        Options { name: "rights".to_owned(), feature_gates: vec!["WatchList=false".to_owned()], ..Options::default() };
    let cluster = Cluster::alone(&options);
    let project = Project::in_cluster(cluster, "shop");
    let operator = Operator::start(cluster);
    a_full_life(&project);
    assert!(operator.terminate().success());
    somebody_is_in_the_way(cluster, &project);
    let mut uses = Uses::default();
    uses.read(&cluster.audit_log());
    uses.assert_are_the_rights(&[]);
}

/// One object of each kind that an environment consists of.
const CHILDREN: [(&str, &str); 6] = [
    ("serviceaccount", "workload"),
    ("resourcequota", "environment"),
    ("limitrange", "environment"),
    ("networkpolicy", "default-deny"),
    ("rolebinding", "access-view"),
    ("configmap", "release"),
];

/// All that an operator ever does when nobody disturbs it.
fn a_full_life(project: &Project) {
    project.version("v1.0.0");
    project.version("v1.1.0");
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    let auto = json!({"auto": true, "deployment": {"deadline": "1h"}});
    let dev = project
        .environment("dev")
        .starting_with("v1.0.0")
        .variable("A", "1")
        .flag("F", true)
        .with("isolation", access)
        .with("promotion", auto)
        .with("revisionHistoryLimit", json!(2))
        .ready();
    // A rule asks for it, somebody deploys it, and it is deleted when its time is over.
    project.existing_promotion("dev-auto-v1.1.0").wait_phase(PromotionPhase::ReadyForDeploy);
    dev.deployed();
    // One that ends without having moved is marked.
    let older = project.promote("older", &json!({"target": "dev", "source": {"version": "v1.0.0"}}));
    eventually("the mark of its end", || {
        older.get().filter(|live| live["metadata"]["annotations"]["platform.puraify.app/ended"].is_string())
    });
    let spec = json!({"target": "dev", "source": {"revision": 1}, "ttlAfterFinished": "0s"});
    let back = project.promote("back", &spec);
    dev.wait_for("the rollback", |object| object["status"]["release"]["revision"] == 3);
    dev.deployed();
    eventually("the end of the promotion", || back.get().is_none().then_some(()));
    // Older revisions and releases go.
    for value in ["2", "3", "4"] {
        dev.edit_and_wait(&json!({"config": {"variables": [{"name": "A", "value": value}], "flags": [{"name": "F", "enabled": value == "3"}]}}));
    }
    drift(project);
    // What is not intended any more goes, and a preview when its time is over.
    dev.edit_and_wait(&json!({"isolation": {"access": []}}));
    project.environment("preview").preview("10s").create().wait_gone();
    dev.delete();
    dev.wait_gone();
}

/// Somebody takes away and adds what is the operator's: each kind of child is deleted, created and changed by it.
fn drift(project: &Project) {
    let dev = project.existing("dev");
    for (kind, name) in CHILDREN {
        let mut stray = dev.child(kind, name).live();
        // As one of ours that is not intended.
        let metadata = &stray["metadata"];
        stray["metadata"] = json!({
            "name": "stray", "namespace": dev.namespace(), "labels": metadata["labels"], "annotations": metadata["annotations"],
        });
        let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=environment-manager", "--filename"];
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, stray.to_string()).unwrap();
        project.cluster().kubectl().run(args.iter().copied().chain([file.path().to_str().unwrap()])).unwrap();
        dev.child(kind, "stray").wait_gone();
        dev.child(kind, name).delete();
        eventually("it to come again", || dev.child(kind, name).get().map(drop));
        if kind == "configmap" {
            // What happens again is counted, not told again.
            let before = dev.child(kind, name).live()["metadata"]["uid"].clone();
            dev.child(kind, name).delete();
            dev.child(kind, name).wait_for("another one", |object| object["metadata"]["uid"] != before);
        }
    }
    dev.wait_ready();
}

/// While nobody looked, somebody put their own objects in the place of the operator's: it looks at each, and leaves it alone.
fn somebody_is_in_the_way(cluster: &'static Cluster, project: &Project) {
    let operator = Operator::start(cluster);
    let access = json!({"access": [{"role": "view", "users": ["ana"]}]});
    let staging = project.environment("staging").starting_with("v1.0.0").with("isolation", access).ready();
    let other = project.environment("other").ready();
    assert!(operator.terminate().success());
    let place = |(kind, name): (&str, &str)| -> Child {
        let child = staging.child(kind, name);
        let mut theirs = child.live();
        theirs["metadata"] = json!({"name": name, "namespace": staging.namespace()});
        child.delete();
        eventually("its end", || child.get().is_none().then_some(()));
        project.create(&theirs);
        child
    };
    let theirs: Vec<Child> = CHILDREN.into_iter().map(place).collect();
    // Where policies hold, nobody can take this name.
    project.unguard(project.namespace());
    project.promote("staging-auto-v1.1.0", &json!({"target": "other", "source": {"version": "v1.1.0"}}));
    let operator = Operator::start(cluster);
    staging.wait_condition("Stalled", "NotOurs");
    for child in &theirs {
        child.delete();
        child.wait_for("ours", |object| {
            object["metadata"]["labels"]["platform.puraify.app/environment-uid"].is_string()
        });
    }
    staging.wait_ready();
    staging.edit(&json!({"promotion": {"auto": true}}));
    let message = staging.wait_condition("Stalled", "NotOurs");
    assert!(message.contains("staging-auto-v1.1.0"), "{message}");
    assert_eq!(other.version(), "v1.1.0");
    assert!(operator.terminate().success());
}
