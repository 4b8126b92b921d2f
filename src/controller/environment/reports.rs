//! Our own status writes wake nobody.
//!
//! If each report led to another reconcile at once, one that says something else each time, such as a refusal with a time
//! in it, would never rest.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    api::{PlatformEnvironment, PlatformEnvironmentStatus},
    domain::environment::status,
    kube_ext::{cache::Decoded, key::ObjectKey},
};

/// An environment as it is cached.
type Entry = Decoded<PlatformEnvironment>;

/// The statuses that are being written, by environment.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<HashMap<ObjectKey, PlatformEnvironmentStatus>>);

/// A status that is being written until this is dropped.
pub(super) struct Reporting<'a> {
    reports: &'a Reports,
    key: &'a ObjectKey,
}

impl Reports {
    pub(super) fn begin<'a>(&'a self, key: &'a ObjectKey, status: &PlatformEnvironmentStatus) -> Reporting<'a> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), status.clone());
        Reporting { reports: self, key }
    }

    /// Whether nothing changed but the status, and that to what is being written. The watch may tell of it before the
    /// answer does. An edit that the API server took before our status comes along with it, and is news.
    pub(super) fn is_echo(&self, key: &ObjectKey, old: Option<&Entry>, new: Option<&Entry>) -> bool {
        let (Some(Decoded::Valid(old)), Some(Decoded::Valid(new))) = (old, new) else { return false };
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = reports.get(key) else { return false };
        let mut metadata = new.metadata.clone();
        metadata.resource_version.clone_from(&old.metadata.resource_version);
        // A planner's report that came before our status comes along with it too.
        let planners = |environment: &PlatformEnvironment| environment.status.as_ref()?.deployment.clone();
        let theirs_is_the_same = planners(old) == planners(new);
        let ours_is_the_report = new.status.clone().map(status::ours).as_ref() == Some(report);
        metadata == old.metadata && theirs_is_the_same && ours_is_the_report
    }
}

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        self.reports.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}
