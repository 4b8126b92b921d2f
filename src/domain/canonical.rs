//! Canonical JSON (RFC 8785) and digests over it.

use serde::Serialize;

use crate::api::Digest;

/// The digest of a value's canonical JSON: equal values have equal digests, whatever the order of their keys.
///
/// Only for values that always serialise: string keys, no NaN. All of our types are such.
#[must_use]
pub fn digest<T: Serialize>(value: &T) -> Digest {
    match serde_json_canonicalizer::to_vec(value) {
        Ok(canonical) => Digest::of(&canonical),
        Err(error) => unreachable!("API types have string keys and finite numbers, yet: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn key_order_does_not_matter_and_values_do() {
        let one: serde_json::Value = serde_json::from_str(r#"{"b": 1, "a": {"y": "x", "x": "y"}}"#).unwrap();
        let other: serde_json::Value = serde_json::from_str(r#"{"a":{"x":"y","y":"x"},"b":1}"#).unwrap();
        assert_eq!(digest(&one), digest(&other));
        assert_ne!(digest(&one), digest(&json!({"a": {"x": "y", "y": "x"}, "b": 2})));
    }

    #[test]
    fn the_digest_is_that_of_rfc_8785s_text() {
        assert_eq!(
            digest(&json!({"b": "ö", "a": [1.0, true, null]})),
            Digest::of("{\"a\":[1,true,null],\"b\":\"ö\"}".as_bytes())
        );
    }
}
