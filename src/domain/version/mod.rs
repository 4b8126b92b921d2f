//! Versions: known by their content, compared with each other, validated, and in use.

use crate::{
    api::{Digest, PlatformVersionSpec},
    domain::canonical,
};

pub mod diff;
pub mod order;
pub mod status;
pub mod validation;

/// The digest of what a version holds. Its name is no part of it: the same content under another name is the same.
#[must_use]
pub fn digest(spec: &PlatformVersionSpec) -> Digest {
    canonical::digest(&serde_json::json!({ "content": spec.content }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn spec(content: &str) -> PlatformVersionSpec {
        let content: Value = serde_json::from_str(content).unwrap();
        serde_json::from_value(json!({"version": "v1.0.0", "content": content})).unwrap()
    }

    proptest! {
        #[test]
        fn the_digest_depends_on_the_content_and_never_on_key_order(names in proptest::collection::vec("[a-z]{1,4}", 1..5)) {
            let part = |name: &String| format!("{:?}: \"{}\"", name, Digest::of(name.as_bytes()));
            let document = |names: &mut dyn Iterator<Item = &String>| format!("{{\"flows\": {{{}}}}}", names.map(part).collect::<Vec<_>>().join(","));
            let forward = spec(&document(&mut names.iter()));
            let backward = spec(&document(&mut names.iter().rev()));
            prop_assert_eq!(digest(&forward), digest(&backward));
            prop_assert_ne!(digest(&forward), digest(&spec("{}")));
        }
    }
}
