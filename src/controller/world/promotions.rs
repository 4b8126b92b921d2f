//! How the promotions into an environment are found.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    api::Promotion,
    domain::promotion::snapshot::Rival,
    kube_ext::{cache::Decoded, key::ObjectKey},
};

/// Promotions by name; those that have ended as names only.
type Promotions = BTreeMap<Arc<str>, Option<Rival>>;

/// The promotions into each environment.
#[derive(Debug, Default)]
pub(super) struct Targets(RwLock<HashMap<ObjectKey, Promotions>>);

impl Targets {
    pub(super) fn change(
        &self,
        promotion: &ObjectKey,
        old: Option<&Decoded<Promotion>>,
        new: Option<&Decoded<Promotion>>,
    ) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = old.and_then(|old| target_of(promotion, old))
            && let Some(promotions) = all.get_mut(&target)
        {
            promotions.remove(&promotion.name);
            if promotions.is_empty() {
                all.remove(&target);
            }
        }
        if let Some(Decoded::Valid(new)) = new {
            let target = ObjectKey::new(promotion.namespace.clone(), new.spec.target.as_str());
            all.entry(target).or_default().insert(promotion.name.clone(), Rival::of(new));
        }
    }

    pub(super) fn rivals(&self, target: &ObjectKey) -> Vec<Rival> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).into_iter().flat_map(BTreeMap::values).flatten().cloned().collect()
    }

    pub(super) fn names(&self, target: &ObjectKey) -> BTreeSet<String> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).into_iter().flat_map(BTreeMap::keys).map(ToString::to_string).collect()
    }
}

/// The environment that a promotion is into.
#[must_use]
pub fn target_of(promotion: &ObjectKey, decoded: &Decoded<Promotion>) -> Option<ObjectKey> {
    match decoded {
        Decoded::Valid(valid) => Some(ObjectKey::new(promotion.namespace.clone(), valid.spec.target.as_str())),
        Decoded::Invalid(_) => None,
    }
}
