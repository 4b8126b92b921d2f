//! kstatus, as Flux, Argo CD and `kubectl wait` understand it.
//!
//! The rules are those of <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>.

use serde_json::Value;

/// What a tool that knows nothing of the kind takes an object for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    /// As its spec says.
    Current,
    /// On its way there.
    InProgress,
    /// Not getting there by itself.
    Failed,
    /// On its way out.
    Terminating,
}

/// What a tool takes this object for.
pub fn of(object: &Value) -> Kstatus {
    let holds = |name: &str| status_of(object, name) == Some("True");
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Kstatus::Terminating;
    }
    if object["status"]["observedGeneration"].as_i64().is_some_and(|seen| seen != generation(object)) {
        return Kstatus::InProgress;
    }
    if holds("Stalled") {
        return Kstatus::Failed;
    }
    if holds("Reconciling") {
        return Kstatus::InProgress;
    }
    // Without the condition kstatus takes an object for current: that is why the schema has a default.
    if status_of(object, "Ready").is_none_or(|status| status == "True") {
        Kstatus::Current
    } else {
        Kstatus::InProgress
    }
}

/// The rules that hold for each state of an environment, whatever it is going through.
#[track_caller]
pub fn check(object: &Value) {
    let say = || format!("{:#}", object["status"]);
    for name in ["Stalled", "Reconciling"] {
        assert!(
            status_of(object, name).is_none_or(|status| status == "True"),
            "{name} is there and not True: {}",
            say()
        );
    }
    let blocked = status_of(object, "Stalled").is_some() || status_of(object, "Reconciling").is_some();
    assert!(
        !(status_of(object, "Stalled").is_some() && status_of(object, "Reconciling").is_some()),
        "both Stalled and Reconciling: {}",
        say()
    );
    match status_of(object, "Ready") {
        Some("True") => assert!(!blocked, "ready and yet blocked: {}", say()),
        Some("False") => assert!(blocked, "not ready, and neither Stalled nor Reconciling: {}", say()),
        Some("Unknown") => assert_eq!(object["status"]["observedGeneration"], Value::Null, "{}", say()),
        other => panic!("Ready is {other:?}: {}", say()),
    }
    if let Some(observed) = object["status"]["observedGeneration"].as_i64() {
        assert!(observed <= generation(object), "{}", say());
        for condition in object["status"]["conditions"].as_array().unwrap() {
            assert_eq!(condition["observedGeneration"], observed, "{}", say());
            assert!(!condition["message"].as_str().unwrap().is_empty(), "{}", say());
        }
    }
}

fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap()
}

/// The status of a condition: True, False or Unknown.
pub fn status_of<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == name)?["status"].as_str()
}
