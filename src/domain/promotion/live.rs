//! What a promotion looks at, and whether what it sees of that is good enough for something final.
//!
//! Live reads alone do not make it so. The caches take in what their watches bring as well, each kind at its own pace: so
//! after the reads the target's history may show a revision of a promotion that the queue does not show yet, or the source
//! may have another version, of which nobody has read how its validations went. What was read live is good enough as
//! long as the target's history stands where it stood before the reads began, the promotion does not say that it has
//! moved something since, and nothing else is looked at. That the history still stands there at the commit is what the
//! API server sees to: one revision of each number.

use std::collections::BTreeSet;

use super::snapshot::EnvironmentView;
use crate::api::{Promotion, RevisionNumber};

/// What a promotion looks at, by name; whether or not it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Environments: target, source, and those that the target's rules name.
    pub environments: BTreeSet<String>,
    /// Versions: the one that it names, and those that target and source have.
    pub versions: BTreeSet<String>,
}

impl Names {
    /// What this promotion looks at, as far as these environments tell.
    #[must_use]
    pub fn of(promotion: &Promotion, environment: impl Fn(&str) -> Option<EnvironmentView>) -> Self {
        let (target, source) = (&promotion.spec.target, &promotion.spec.source);
        let mut names = Self::default();
        names.environments.insert(target.clone());
        names.environments.extend(source.environment.clone());
        names.versions.extend(source.version.clone());
        if let Some(view) = environment(target)
            && let Some(rules) = view.rules()
        {
            names.environments.extend(rules.from.iter().cloned());
            names.environments.extend(rules.requires.iter().map(|requirement| requirement.environment.clone()));
        }
        let released_in = [Some(target), source.environment.as_ref()];
        for view in released_in.into_iter().flatten().filter_map(|name| environment(name)) {
            let records = [view.history.newest(), source.revision.and_then(|number| view.history.get(number))];
            let versions = records.into_iter().flatten().filter_map(|record| record.version.as_ref());
            names.versions.extend(versions.map(|version| version.name.clone()));
        }
        names
    }
}

/// Everything that a promotion looks at was read live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLook {
    names: Names,
    newest: Option<RevisionNumber>,
    moved: Option<RevisionNumber>,
}

impl LiveLook {
    /// Live reads of all this. Promotion and target are as they were known before the reads began.
    #[must_use]
    pub fn new(names: Names, promotion: &Promotion, target: Option<&EnvironmentView>) -> Self {
        Self { names, newest: newest(target), moved: moved(promotion) }
    }

    /// Whether it is good enough for what is looked at now.
    #[must_use]
    pub fn covers(&self, names: &Names, promotion: &Promotion, target: Option<&EnvironmentView>) -> bool {
        names.environments.is_subset(&self.names.environments)
            && names.versions.is_subset(&self.names.versions)
            && self.newest == newest(target)
            && self.moved == moved(promotion)
    }
}

fn moved(promotion: &Promotion) -> Option<RevisionNumber> {
    promotion.status.as_ref()?.revision
}

fn newest(target: Option<&EnvironmentView>) -> Option<RevisionNumber> {
    target?.history.newest().map(|newest| newest.number)
}
