//! Which part of a status is ours, and how to make it as it should be.
//!
//! A status has several authors: the operator, planners, validators, whoever adds a condition. A server-side apply alone does
//! not make our part of it as intended: what it leaves out stays if another manager owns it, a `Stalled` that somebody forged
//! for example.

use serde_json::{Map, Value, json};

use crate::api::Condition;

/// The part of a kind's status that is ours. What is not named here is somebody else's, and nothing of ours touches it.
#[derive(Clone, Copy, Debug)]
pub struct OurPart {
    /// The fields, but for `conditions`.
    pub fields: &'static [&'static str],
    /// The types of conditions.
    pub conditions: &'static [&'static str],
}

impl OurPart {
    /// Whether a condition is ours.
    #[must_use]
    pub fn has(&self, condition: &Condition) -> bool {
        self.conditions.contains(&condition.r#type.as_str())
    }

    /// A JSON merge patch (RFC 7386) of the status that makes our part of it as intended; `None` if it is. It is for exactly
    /// this stored status, since it gives the list of conditions as a whole, those of others included.
    #[must_use]
    pub fn correction(&self, stored: &Value, intended: &Value) -> Option<Value> {
        let mut patch = difference(&self.fields_of(stored), &self.fields_of(intended)).unwrap_or_else(|| json!({}));
        let all = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
        let is_ours =
            |condition: &Value| condition["type"].as_str().is_some_and(|name| self.conditions.contains(&name));
        let (ours, theirs): (Vec<Value>, Vec<Value>) = all(stored).into_iter().partition(is_ours);
        let intended = all(intended);
        if ours != intended {
            patch["conditions"] = json!([intended, theirs].concat());
        }
        patch.as_object().is_some_and(|patch| !patch.is_empty()).then_some(patch)
    }

    fn fields_of(&self, status: &Value) -> Value {
        let fields = status.as_object().into_iter().flatten();
        let ours = fields.filter(|(name, _)| self.fields.contains(&name.as_str()));
        Value::Object(ours.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Every field of the kind's status is ours or one of `theirs`, and none is both.
    #[cfg(test)]
    #[track_caller]
    pub(crate) fn assert_authors(&self, crd: &Value, theirs: &[&str]) {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        for field in schema.as_object().unwrap().keys().filter(|field| *field != "conditions") {
            let ours = self.fields.contains(&field.as_str());
            assert!(ours != theirs.contains(&field.as_str()), "whose is status.{field}?");
        }
    }
}

/// The merge patch that makes `to` of `from`.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let gone = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let set = to.iter().filter_map(|(name, to)| {
        let difference = difference(from.get(name).unwrap_or(&Value::Null), to)?;
        Some((name.clone(), difference))
    });
    let patch: Map<String, Value> = gone.chain(set).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: OurPart = OurPart { fields: &["phase", "expiresAt", "release"], conditions: &["Ready", "Stalled"] };

    fn conditions(names: &[&str]) -> Value {
        names.iter().map(|name| json!({"type": name, "status": "True"})).collect()
    }

    fn intended() -> Value {
        json!({"phase": "Active", "conditions": conditions(&["Ready"])})
    }

    #[test]
    fn what_others_put_into_our_part_is_taken_out_and_theirs_stays() {
        let names = ["Stalled", "example.com/A", "Ready"];
        let stored = json!({"phase": "Active", "expiresAt": "2030-01-01T00:00:00Z", "conditions": conditions(&names)});
        let theirs_at_the_end = conditions(&["Ready", "example.com/A"]);
        let expected = json!({"expiresAt": null, "conditions": theirs_at_the_end});
        assert_eq!(OURS.correction(&stored, &intended()), Some(expected));
    }

    #[test]
    fn a_part_of_a_field_is_taken_out_alone() {
        let release = json!({"revision": 1, "variables": "v"});
        let forged = json!({"revision": 1, "variables": "v", "version": "v6.6.6"});
        assert_eq!(difference(&forged, &release), Some(json!({"version": null})));
        assert_eq!(difference(&release, &json!({"revision": 2, "variables": "v"})), Some(json!({"revision": 2})));
    }

    #[test]
    fn where_nothing_of_ours_differs_nothing_is_written() {
        assert_eq!(OURS.correction(&intended(), &intended()), None);
        let mut stored = intended();
        stored["conditions"] = conditions(&["Ready", "example.com/A"]);
        stored["deployment"] = json!({"state": "Succeeded"});
        assert_eq!(OURS.correction(&stored, &intended()), None, "a field that is not ours is not even looked at");
    }
}
