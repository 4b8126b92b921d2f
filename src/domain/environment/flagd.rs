//! Feature flags in the format of OpenFeature's flagd (<https://flagd.dev/reference/flag-definitions/>).

use serde_json::{Map, Value, json};

use crate::api::revision::EffectiveFlag;

/// The flags as a flagd document. Every flag is a boolean with the variants `on` and `off`.
#[must_use]
pub fn document(flags: &[EffectiveFlag]) -> Value {
    let flags: Map<String, Value> = flags.iter().map(|flag| (flag.name.clone(), definition(flag.enabled))).collect();
    json!({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": flags})
}

/// `state` says whether flagd evaluates the flag at all; a flag that is off is evaluated, to `off`.
fn definition(enabled: bool) -> Value {
    json!({
        "state": "ENABLED",
        "variants": {"on": true, "off": false},
        "defaultVariant": if enabled { "on" } else { "off" },
    })
}
