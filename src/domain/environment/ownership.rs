//! Whose a child is, and whether it is still as we left it: read from metadata alone.
//!
//! The API server keeps in `managedFields` which manager owns which fields. Our entry loses a field as soon as
//! somebody else changes its value, and its shape follows from what we applied. So a child is as intended when its
//! intent annotation (which is one of our fields) names the digest of today's intent, and our entry covers all that
//! the intent covers. See <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use serde_json::{Map, Value};

/// A digest of the set of fields that a manager owns. Only ever compared within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnedFields(u64);

impl OwnedFields {
    /// What the API server will say we own after this body was applied.
    ///
    /// `atomic` are the fields, by path, that are replaced as a whole although they are objects.
    #[must_use]
    pub fn of_body(body: &Value, atomic: &[&str]) -> Self {
        Self::of_fields(&foretold(body, atomic))
    }

    /// No field at all.
    #[must_use]
    pub fn none() -> Self {
        Self::of_fields(&Value::Null)
    }

    /// What an entry of `managedFields` (its `fieldsV1`) says.
    #[must_use]
    pub fn of_fields(fields: &Value) -> Self {
        let mut hasher = DefaultHasher::new();
        hash(fields, &mut hasher);
        Self(hasher.finish())
    }
}

/// Another manager of an object, and the paths of the fields that it owns, as digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherManager {
    /// Its name, such as `kubectl-edit`.
    pub name: Box<str>,
    paths: BTreeSet<u64>,
}

impl OtherManager {
    /// The manager with this name, whose entry of `managedFields` says this.
    #[must_use]
    pub fn new(name: &str, fields: &Value) -> Self {
        let mut paths = BTreeSet::new();
        each_path(fields, &DefaultHasher::new(), &mut |path, _| {
            paths.insert(path);
        });
        Self { name: name.into(), paths }
    }

    /// Whether it owns a field that is ours once this body is applied: then it is who changed that field.
    #[must_use]
    pub fn took_from(&self, body: &Value, atomic: &[&str]) -> bool {
        let mut took = false;
        each_path(&foretold(body, atomic), &DefaultHasher::new(), &mut |path, leaf| {
            took |= leaf && self.paths.contains(&path);
        });
        took
    }
}

/// Calls with a digest of each path in a `fieldsV1`, and whether the path ends there.
fn each_path(fields: &Value, above: &DefaultHasher, found: &mut impl FnMut(u64, bool)) {
    for (name, below) in fields.as_object().into_iter().flatten() {
        let mut path = above.clone();
        name.hash(&mut path);
        found(path.finish(), below.as_object().is_none_or(Map::is_empty));
        each_path(below, &path, found);
    }
}

/// The `fieldsV1` of our entry after this body was applied.
fn foretold(body: &Value, atomic: &[&str]) -> Value {
    let mut owned = Map::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            // Identity, not fields: the API server leaves them out.
            ("apiVersion" | "kind", _) => {}
            ("metadata", Value::Object(metadata)) => {
                let fields = metadata.iter().filter(|(name, _)| matches!(name.as_str(), "labels" | "annotations"));
                owned.insert("f:metadata".into(), Value::Object(fields_of(fields, "metadata", atomic)));
            }
            (name, value) => {
                owned.insert(format!("f:{name}"), fields_of_value(value, name, atomic));
            }
        }
    }
    Value::Object(owned)
}

fn fields_of<'a>(
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
    path: &str,
    atomic: &[&str],
) -> Map<String, Value> {
    fields
        .map(|(name, value)| (format!("f:{name}"), fields_of_value(value, &format!("{path}.{name}"), atomic)))
        .collect()
}

fn fields_of_value(value: &Value, path: &str, atomic: &[&str]) -> Value {
    match value {
        Value::Object(fields) if !atomic.contains(&path) => Value::Object(fields_of(fields.iter(), path, atomic)),
        _ => Value::Object(Map::new()),
    }
}

fn hash(value: &Value, hasher: &mut DefaultHasher) {
    if let Value::Object(fields) = value {
        let mut fields: Vec<_> = fields.iter().collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        fields.len().hash(hasher);
        for (name, value) in fields {
            name.hash(hasher);
            hash(value, hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_of_a_body_are_those_the_api_server_lists() {
        let body = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "a", "namespace": "b", "labels": {"x": "y"}, "annotations": {"i": "j"}},
            "spec": {"podSelector": {"matchLabels": {"q": "r"}}, "policyTypes": ["Ingress"], "ingress": []},
        });
        let listed = json!({
            "f:metadata": {"f:labels": {"f:x": {}}, "f:annotations": {"f:i": {}}},
            "f:spec": {"f:podSelector": {}, "f:policyTypes": {}, "f:ingress": {}},
        });
        assert_eq!(OwnedFields::of_body(&body, &["spec.podSelector"]), OwnedFields::of_fields(&listed));
    }

    #[test]
    fn a_lost_field_is_noticed() {
        let all = json!({"f:data": {"f:a": {}, "f:b": {}}});
        let lost = json!({"f:data": {"f:a": {}}});
        assert_ne!(OwnedFields::of_fields(&all), OwnedFields::of_fields(&lost));
    }

    #[test]
    fn who_changed_a_field_is_told_from_who_added_one() {
        let body = json!({"metadata": {"annotations": {"i": "j"}}, "spec": {"hard": {"pods": "1"}, "list": [1]}});
        let took = |fields: Value| OtherManager::new("other", &fields).took_from(&body, &[]);
        assert!(took(json!({"f:spec": {"f:hard": {"f:pods": {}}}})));
        assert!(took(json!({"f:spec": {"f:list": {"k:{}": {".": {}}}}})), "a list is ours as a whole");
        assert!(!took(json!({"f:metadata": {"f:annotations": {"f:seen": {}}}, "f:spec": {"f:hard": {"f:cpu": {}}}})));
        assert!(!took(json!({"f:spec": {}})));
    }
}
