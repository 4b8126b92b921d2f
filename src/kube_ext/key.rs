//! How an object is named ([`ObjectKey`]) and which incarnation and state of it is meant ([`Uid`], [`Stamp`]).

use std::{fmt, sync::Arc};

use kube::core::ObjectMeta;

/// Namespace and name of an object of a kind that the context tells. Cheap to clone: two reference counts.
///
/// Ordered by namespace first, so that the objects of one namespace are neighbours in an ordered map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// The key of a namespaced object.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(name: impl Into<Arc<str>>) -> Self {
        Self::new("", name)
    }

    /// The key in an object's metadata. `None` when it has no name, which no stored object lacks.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let name = metadata.name.as_deref()?;
        Some(Self::new(metadata.namespace.as_deref().unwrap_or_default(), name))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `metadata.uid`: tells an object from a later one of the same name.
///
/// API servers make UUIDs; those take 16 bytes without an allocation. Anything else is kept as it is, because the
/// API defines a uid as an opaque string and a delete's precondition must give it back unchanged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid([u8; 16]),
    Other(Box<str>),
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(canonical_uuid(text).map_or_else(|| Repr::Other(text.into()), Repr::Uuid))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Other(text) => f.write_str(text),
            Repr::Uuid(bytes) => {
                for (index, byte) in bytes.iter().enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Only the canonical form (lower case, hyphens in place), so that printing it gives the same text again.
fn canonical_uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0_u8; 16];
    let mut digits = 0;
    for (index, character) in text.bytes().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

/// Which state of which incarnation of an object: uid and resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The incarnation.
    pub uid: Uid,
    /// The state. Numbers that grow with each write to any object of the kind: the API promises since Kubernetes 1.35
    /// (KEP-5504) what etcd-backed API servers have always done.
    pub resource_version: u64,
}

impl Stamp {
    /// The stamp in an object's metadata. `None` when the server's resourceVersions are not numbers, or when the
    /// object never came from a server.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let uid = metadata.uid.as_deref()?.into();
        let resource_version = metadata.resource_version.as_deref()?.parse().ok()?;
        Some(Self { uid, resource_version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_as_kubectl_prints_it() {
        assert_eq!(ObjectKey::new("pf-872", "staging").to_string(), "pf-872/staging");
        assert_eq!(ObjectKey::cluster("pf-872--staging").to_string(), "pf-872--staging");
    }

    #[test]
    fn a_uid_gives_back_the_text_it_was_made_of() {
        for text in [
            "6f1c2a94-0b1d-4c53-9d5e-00ffaa113377",
            "6F1C2A94-0B1D-4C53-9D5E-00FFAA113377",
            "6f1c2a940b1d4c539d5e00ffaa113377",
            "6f1c2a94-0b1d-4c53-9d5e-00ffaa11337",
            "6f1c2a94-0b1d-4c53-9d5e-00ffaa11337é",
            "",
        ] {
            assert_eq!(Uid::from(text).to_string(), text);
        }
    }

    #[test]
    fn a_uuid_takes_no_allocation() {
        assert!(matches!(Uid::from("6f1c2a94-0b1d-4c53-9d5e-00ffaa113377").0, Repr::Uuid(_)));
        assert!(size_of::<Uid>() <= 24);
    }

    #[test]
    fn a_stamp_needs_a_number_for_a_resource_version() {
        let metadata = |resource_version: &str| ObjectMeta {
            uid: Some("u".into()),
            resource_version: Some(resource_version.into()),
            ..ObjectMeta::default()
        };
        assert_eq!(Stamp::of(&metadata("12")).map(|stamp| stamp.resource_version), Some(12));
        assert_eq!(Stamp::of(&metadata("twelve")), None);
    }
}
