//! The record for our own kinds: the whole object, or why it cannot be read.

use std::{fmt, sync::Arc};

use kube::{
    Resource,
    core::{DeserializeGuard, error_boundary::InvalidObject},
};

use super::{Cache, Record};
use crate::kube_ext::key::ObjectKey;

/// An object of one of our kinds as the API server stores it.
///
/// Objects that do not decode exist: stored before a schema became stricter, for example. They are held as such, so
/// that a controller can say so of the one object, and go on with all others.
pub enum Decoded<K> {
    /// The object, without `managedFields`.
    Valid(Arc<K>),
    /// What does not decode, with its metadata.
    Invalid(Arc<InvalidObject>),
}

impl<K> Decoded<K> {
    /// The object, if it decodes.
    #[must_use]
    pub fn valid(self) -> Option<Arc<K>> {
        match self {
            Self::Valid(object) => Some(object),
            Self::Invalid(_) => None,
        }
    }
}

impl<K> Clone for Decoded<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Valid(object) => Self::Valid(object.clone()),
            Self::Invalid(invalid) => Self::Invalid(invalid.clone()),
        }
    }
}

impl<K: fmt::Debug> fmt::Debug for Decoded<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(object) => object.fmt(f),
            Self::Invalid(invalid) => invalid.fmt(f),
        }
    }
}

impl<K: Resource + Send + Sync + 'static> Record for Decoded<K> {
    type Object = DeserializeGuard<K>;

    fn from_object(mut object: DeserializeGuard<K>) -> Option<Self> {
        object.meta_mut().managed_fields = None;
        Some(match object.0 {
            Ok(object) => Self::Valid(Arc::new(object)),
            Err(invalid) => Self::Invalid(Arc::new(invalid)),
        })
    }
}

impl<K: Resource + Send + Sync + 'static> Cache<Decoded<K>> {
    /// The object, if it is there and decodes.
    #[must_use]
    pub fn valid(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.get(key)?.valid()
    }

    /// [`written`](Cache::written) for the plain object that a typed write returns.
    pub fn written_object(&self, object: K) {
        self.written(DeserializeGuard(Ok(object)));
    }
}
