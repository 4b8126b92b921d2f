//! A promotion, as people ask for it, look at it, confirm and cancel it.

use environment_manager::api::{Gate, PromotionPhase, PromotionStatus};
use serde_json::{Value, json};

use super::Project;

/// A promotion.
#[derive(Clone, Debug)]
pub struct Promotion<'project> {
    project: &'project Project,
    name: String,
}

impl<'project> Promotion<'project> {
    pub(super) fn of(project: &'project Project, name: &str) -> Self {
        Self { project, name: name.to_owned() }
    }

    /// The custom resource that Ana creates.
    pub fn manifest(project: &Project, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "platform.puraify.app/v1alpha1", "kind": "Promotion",
            "metadata": {"name": name, "namespace": project.namespace()},
            "spec": spec,
        })
    }

    /// The custom resource as it is now, if it is there.
    pub fn get(&self) -> Option<Value> {
        self.project.cluster().get("promo", self.project.namespace(), &self.name)
    }

    /// Its status as it is now.
    #[track_caller]
    pub fn status(&self) -> PromotionStatus {
        let mut live = self.get().unwrap();
        serde_json::from_value(live["status"].take()).unwrap()
    }

    /// One of its gates as it is now.
    #[track_caller]
    pub fn gate(&self, name: &str) -> Gate {
        let gates = self.status().gates;
        gates.iter().find(|gate| gate.name == name).cloned().unwrap_or_else(|| panic!("no gate {name}: {gates:#?}"))
    }

    /// Waits for a state of it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut found: impl FnMut(&PromotionStatus) -> bool) -> PromotionStatus {
        let watch = self.project.cluster().promotions();
        let mut last = None;
        let seen = devcluster::wait_until(what, super::LIMIT, || {
            let current = watch.current(self.project.namespace(), &self.name);
            last = current.and_then(|mut current| serde_json::from_value(current["status"].take()).ok());
            Ok(last.clone().filter(&mut found))
        });
        seen.unwrap_or_else(|error| panic!("{}: {error}; it is {last:#?}", self.name))
    }

    /// Waits for a phase.
    #[track_caller]
    pub fn wait_phase(&self, phase: PromotionPhase) -> PromotionStatus {
        self.wait_for(&format!("phase {}", phase.as_str()), |status| status.phase == Some(phase))
    }

    /// Waits until one of its gates has this reason, and returns the gate.
    #[track_caller]
    pub fn wait_gate(&self, name: &str, reason: &str) -> Gate {
        let of = |status: &PromotionStatus| {
            status.gates.iter().find(|gate| gate.name == name && gate.reason == reason).cloned()
        };
        let status = self.wait_for(&format!("gate {name} with reason {reason}"), |status| of(status).is_some());
        of(&status).unwrap()
    }

    /// Somebody confirms the plan as it is shown.
    #[track_caller]
    pub fn confirm(&self, user: &str) {
        self.try_confirm(user).unwrap();
    }

    /// The same, when the API server may refuse.
    #[track_caller]
    pub fn try_confirm(&self, user: &str) -> devcluster::Result<String> {
        let mut live = self.get().unwrap();
        let mut confirmations = live["spec"]["confirmations"].as_array().cloned().unwrap_or_default();
        confirmations.push(json!({"user": user, "digest": live["status"]["plan"]["digest"].take()}));
        self.patch_as(user, &json!({"confirmations": confirmations}))
    }

    /// Ana changes its spec as `kubectl patch --type merge` does; the API server may refuse.
    pub fn patch(&self, spec: &Value) -> devcluster::Result<String> {
        self.patch_as("ana", spec)
    }

    fn patch_as(&self, user: &str, spec: &Value) -> devcluster::Result<String> {
        let patch = json!({"spec": spec}).to_string();
        self.project.kubectl_of(user, &["patch", "promo", &self.name, "--type", "merge", "--patch", &patch])
    }

    /// What its conditions say of `Ready`.
    #[track_caller]
    pub fn message(&self) -> String {
        let status = self.status();
        status.conditions.iter().find(|condition| condition.r#type == "Ready").unwrap().message.clone()
    }
}
