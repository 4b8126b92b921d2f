//! The custom resource definitions, generated from the types.

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{EnvironmentRevision, PlatformEnvironment, PlatformVersion, Promotion, condition, condition::Reason};

/// The definitions of all kinds, as JSON, in a stable order.
#[must_use]
pub fn crds() -> Vec<Value> {
    [PlatformEnvironment::crd(), PlatformVersion::crd(), Promotion::crd(), EnvironmentRevision::crd()]
        .iter()
        .map(finish)
        .collect()
}

/// The definitions of all kinds as one YAML stream, ready for `kubectl apply --server-side -f -`.
#[must_use]
pub fn crds_yaml() -> String {
    stream(&crds())
}

/// Several documents as one YAML stream.
#[must_use]
pub fn stream(documents: &[Value]) -> String {
    let documents: Vec<String> = documents.iter().map(|document| format!("---\n{}", yaml(document))).collect();
    documents.concat()
}

/// One document in YAML. JSON is YAML; what is gained is that people can read it.
#[must_use]
pub fn yaml(document: &Value) -> String {
    serde_saphyr::to_string(document).unwrap_or_else(|_| document.to_string())
}

/// Puts into a derived definition what the derive cannot say.
fn finish(crd: &CustomResourceDefinition) -> Value {
    let mut crd = json!(crd);
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    tidy(schema);
    schema["properties"]["metadata"] = json!({"type": "object"});
    // Where there are conditions, an object that no operator has seen must not look ready. A revision has none: it is
    // complete from the first moment.
    if !schema["properties"]["status"]["properties"]["conditions"].is_null() {
        schema["properties"]["status"]["default"] = unseen_status();
    }
    crd
}

/// The status of an object that no operator has seen: without it kstatus would take the object for ready.
fn unseen_status() -> Value {
    json!({"conditions": [{
        "type": condition::READY,
        "status": "Unknown",
        "reason": Reason::Pending.as_str(),
        "message": "No operator has seen this object yet",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    }]})
}

/// Takes out what the derive adds and Kubernetes does not want: unsigned formats (the API server warns about each of
/// them at every request), `nullable` (an explicit null is the same as a field left out, so `has()` in a rule means
/// what it says), and the line breaks of Rust's doc comments within a paragraph.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            if let Some(Value::String(description)) = fields.get_mut("description") {
                *description = unwrapped(description);
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The text with each paragraph on one line.
fn unwrapped(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

/// Schema of a moment: RFC 3339, seconds, UTC.
pub struct DateTime;

impl JsonSchema for DateTime {
    fn schema_name() -> Cow<'static, str> {
        "DateTime".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Stricter than Go's date-time, which takes +99:99 for an offset, and within the years that every language knows.
        json_schema!({
            "type": "string",
            "format": "date-time",
            "maxLength": 64,
            "pattern": r"^[12]\d{3}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-][01]\d:[0-5]\d)$",
        })
    }
}

/// Schema of a duration of hours, minutes and seconds, zero included.
pub struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "DurationText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 2,
            "maxLength": 16,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$') && duration(self) <= duration('8760h')",
                "messageExpression": "self + ' is out of bounds: give 0s to 8760h (one year) in hours, minutes and seconds, for example 1h or 1h30m'",
            }],
        })
    }
}

/// Schema of a Kubernetes quantity above zero.
pub struct Quantity;

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 32,
            "x-kubernetes-validations": [{
                "rule": "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
                "messageExpression": "self + ' is not a quantity above zero: write for example 500m or 4 for CPU, 512Mi or 8Gi for memory and storage'",
            }],
        })
    }
}
