//! How an object is named ([`ObjectKey`]) and which incarnation and state of it is meant ([`Uid`], [`Stamp`]).

use std::{fmt, sync::Arc};

use kube::core::ObjectMeta;

pub use crate::domain::uid::Uid;

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
