//! Least privilege, by the API server's own account: what the operator is granted it uses, and what it uses it is granted.

use std::{collections::BTreeSet, fs};

use environment_manager::{api::PromotionPhase, controller::rights};
use serde_json::{Value, json};

use devcluster::Options;

use crate::support::{Child, Cluster, Operator, Project, eventually};

/// A verb on a resource of a group.
type Use = (String, String, String);

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
    let granted: BTreeSet<Use> = [rights::everywhere(), rights::at_home(), vec![rights::to_bind(["view".to_owned()])]]
        .concat()
        .into_iter()
        .flat_map(|right| {
            let of = move |verb: &&str| (right.group.clone(), right.resource.clone(), (*verb).to_owned());
            right.verbs.clone().iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    let mut used = used(cluster);
    // The API server asks for it itself, when a RoleBinding is written: no request of its own.
    assert!(used.contains(&("rbac.authorization.k8s.io".into(), "rolebindings".into(), "patch".into())));
    used.insert(("rbac.authorization.k8s.io".into(), "clusterroles".into(), "bind".into()));
    // A server-side apply that creates is a patch in the audit log, and asks for create too. So children are made.
    let children = [
        "namespaces",
        "serviceaccounts",
        "resourcequotas",
        "limitranges",
        "networkpolicies",
        "rolebindings",
        "configmaps",
    ];
    for (group, resource, verb) in used.clone() {
        if verb == "patch"
            && children.contains(&resource.as_str())
            && granted.contains(&(group.clone(), resource.clone(), "create".into()))
        {
            used.insert((group, resource, "create".into()));
        }
    }
    let without_right: Vec<&Use> = used.difference(&granted).collect();
    let in_vain: Vec<&Use> = granted.difference(&used).collect();
    println!("{} rights granted, {} used", granted.len(), used.len());
    assert!(without_right.is_empty(), "used and not granted: {without_right:#?}");
    assert!(in_vain.is_empty(), "granted and not used: {in_vain:#?}");
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

/// What the operator asked for and got.
fn used(cluster: &Cluster) -> BTreeSet<Use> {
    let text = fs::read_to_string(cluster.audit_log()).unwrap();
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = entries.filter(|entry| entry["user"]["username"] == Operator::USER && entry["objectRef"].is_object());
    // What every authenticated user may ask; what was refused was no use.
    let counts = |entry: &Value| entry["responseStatus"]["code"].as_u64().is_some_and(|code| code != 403);
    let of = |entry: Value| {
        let object = &entry["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        (text(&object["apiGroup"]), format!("{}{subresource}", text(&object["resource"])), text(&entry["verb"]))
    };
    ours.filter(counts).map(of).collect()
}
