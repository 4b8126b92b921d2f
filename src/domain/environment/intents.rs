//! What an environment should consist of, but for its release.
//!
//! A reconcile plans half a dozen times, and each plan compares with all of it. Working it out, digests included, is
//! most of what a plan costs. So a reconcile carries a [`Memo`] from plan to plan.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    children::{self, Intent, Owner},
    isolation,
    plan::Hold,
    snapshot::Snapshot,
};
use crate::api::{
    condition::{self, Reason},
    isolation::EffectiveIsolation,
};

/// The namespace and everything that keeps it apart.
#[derive(Debug)]
pub struct Intents {
    /// The isolation that applies.
    pub isolation: EffectiveIsolation,
    /// The environment's namespace.
    pub namespace: Intent,
    /// What isolates.
    pub isolation_children: Vec<Intent>,
    /// What the spec asks for and the platform team does not allow. All else is still enforced.
    pub refused: Option<Hold>,
}

impl Intents {
    fn of(snapshot: &Snapshot<'_>, owner: Owner<'_>) -> Self {
        let spec = &snapshot.environment.spec;
        let (isolation, refused) = isolation::effective(spec.class, spec.isolation.as_ref(), snapshot.settings);
        let refused = refused.map(|error| Hold::stalled(Reason::InvalidSpec, condition::ISOLATED, error.to_string()));
        let access = spec.isolation.iter().flat_map(|isolation| &isolation.access);
        let access: Vec<_> = access.filter(|access| isolation.roles.contains(&access.role)).collect();
        Self {
            namespace: children::namespace(owner, &isolation),
            isolation_children: children::isolation_children(owner, &isolation, &access, snapshot.settings),
            isolation,
            refused,
        }
    }
}

/// The intents of the environment and spec that were planned for last. For one operator: settings do not change while
/// it runs.
#[derive(Debug, Default)]
pub struct Memo(Mutex<Option<(Spec, Arc<Intents>)>>);

/// Which spec of which environment. The API server counts the generation up with each change of the spec.
#[derive(Debug, PartialEq, Eq)]
struct Spec {
    uid: String,
    generation: i64,
}

impl Memo {
    /// The intents of the snapshot's environment. `owner` is that environment.
    pub fn intents(&self, snapshot: &Snapshot<'_>, owner: Owner<'_>) -> Arc<Intents> {
        let spec =
            snapshot.environment.metadata.generation.map(|generation| Spec { uid: owner.uid.to_owned(), generation });
        let mut memo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, intents)) = memo.as_ref()
            && spec.as_ref() == Some(known)
        {
            return intents.clone();
        }
        let intents = Arc::new(Intents::of(snapshot, owner));
        *memo = spec.map(|spec| (spec, intents.clone()));
        intents
    }
}
