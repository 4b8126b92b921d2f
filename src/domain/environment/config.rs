//! Configuration: how what `spec.config` says and what already applies are joined.
//!
//! They are joined as `kubectl apply` joins: a key that changed in `spec.config` since the last revision wins, a key
//! that was removed there is removed, every other key keeps its value. So what a clone (and later a promotion or a
//! rollback) brought is not undone by an unrelated edit.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    api::{
        Configuration, Digest, Flag, RevisionNumber, Variable,
        revision::{
            Changes, DeclaredConfiguration, EffectiveConfiguration, EffectiveFlag, EffectiveVariable, KeyChanges,
        },
    },
    domain::canonical,
};

/// What `spec.config` says, a digest for each key.
#[must_use]
pub fn declared(config: &Configuration) -> DeclaredConfiguration {
    DeclaredConfiguration {
        variables: config.variables.iter().map(|entry| (entry.name.clone(), canonical::digest(entry))).collect(),
        flags: config.flags.iter().map(|entry| (entry.name.clone(), canonical::digest(entry))).collect(),
    }
}

/// The digest of a configuration: of its names and values, not of the revisions that brought them.
#[must_use]
pub fn digest(config: &EffectiveConfiguration) -> Digest {
    canonical::digest(&(variables_digest(config), flags_digest(config)))
}

/// The digest of the variables alone; it names their `ConfigMap`.
#[must_use]
pub fn variables_digest(config: &EffectiveConfiguration) -> Digest {
    let variables: Vec<_> = config.variables.iter().map(Entry::content).collect();
    canonical::digest(&variables)
}

/// The digest of the flags alone; it names their `ConfigMap`.
#[must_use]
pub fn flags_digest(config: &EffectiveConfiguration) -> Digest {
    let flags: Vec<_> = config.flags.iter().map(Entry::content).collect();
    canonical::digest(&flags)
}

/// Joins `spec.config` with what applies. `seen` is what `spec.config` said when `current` was made; `revision` is the
/// one that the result is for.
#[must_use]
pub fn merge(
    spec: &Configuration,
    seen: &DeclaredConfiguration,
    current: &EffectiveConfiguration,
    revision: RevisionNumber,
) -> EffectiveConfiguration {
    let now = declared(spec);
    EffectiveConfiguration {
        variables: join(&spec.variables, &now.variables, &seen.variables, &current.variables, revision),
        flags: join(&spec.flags, &now.flags, &seen.flags, &current.flags, revision),
    }
}

/// The configuration that a clone takes along: the base's values, brought by the clone's first revision.
#[must_use]
pub fn inherited(base: &EffectiveConfiguration) -> EffectiveConfiguration {
    let mut config = base.clone();
    config.variables.iter_mut().for_each(|variable| variable.since = RevisionNumber::FIRST);
    config.flags.iter_mut().for_each(|flag| flag.since = RevisionNumber::FIRST);
    config
}

/// What changed from one configuration to another.
#[must_use]
pub fn changes(from: &EffectiveConfiguration, to: &EffectiveConfiguration) -> Changes {
    Changes { variables: compare(&from.variables, &to.variables), flags: compare(&from.flags, &to.flags) }
}

/// An entry of a configuration, known by its name.
trait Entry: Clone {
    /// The same entry as it stands in `spec.config`, without provenance.
    type Declared: Clone + PartialEq + Serialize;

    fn name(&self) -> &str;
    fn content(&self) -> Self::Declared;
    fn brought_by(declared: &Self::Declared, revision: RevisionNumber) -> Self;
    fn name_of(declared: &Self::Declared) -> &str;
}

impl Entry for EffectiveVariable {
    type Declared = Variable;

    fn name(&self) -> &str {
        &self.name
    }

    fn content(&self) -> Variable {
        Variable { name: self.name.clone(), value: self.value.clone(), vault: self.vault.clone() }
    }

    fn brought_by(declared: &Variable, since: RevisionNumber) -> Self {
        let Variable { name, value, vault } = declared.clone();
        Self { name, value, vault, since }
    }

    fn name_of(declared: &Variable) -> &str {
        &declared.name
    }
}

impl Entry for EffectiveFlag {
    type Declared = Flag;

    fn name(&self) -> &str {
        &self.name
    }

    fn content(&self) -> Flag {
        Flag { name: self.name.clone(), enabled: self.enabled }
    }

    fn brought_by(declared: &Flag, since: RevisionNumber) -> Self {
        Self { name: declared.name.clone(), enabled: declared.enabled, since }
    }

    fn name_of(declared: &Flag) -> &str {
        &declared.name
    }
}

fn join<E: Entry>(
    spec: &[E::Declared],
    now: &BTreeMap<String, Digest>,
    seen: &BTreeMap<String, Digest>,
    current: &[E],
    revision: RevisionNumber,
) -> Vec<E> {
    let untouched = |name: &str| now.get(name) == seen.get(name);
    let mut result: BTreeMap<&str, E> =
        current.iter().filter(|entry| untouched(entry.name())).map(|entry| (entry.name(), entry.clone())).collect();
    for declared in spec.iter().filter(|declared| !untouched(E::name_of(declared))) {
        let same = current.iter().find(|entry| entry.content() == *declared);
        let entry = same.cloned().unwrap_or_else(|| E::brought_by(declared, revision));
        result.insert(E::name_of(declared), entry);
    }
    result.into_values().collect()
}

fn compare<E: Entry>(from: &[E], to: &[E]) -> KeyChanges {
    let old: BTreeMap<&str, E::Declared> = from.iter().map(|entry| (entry.name(), entry.content())).collect();
    let new: BTreeMap<&str, E::Declared> = to.iter().map(|entry| (entry.name(), entry.content())).collect();
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    KeyChanges {
        added: owned(new.keys().filter(|name| !old.contains_key(*name)).copied().collect()),
        removed: owned(old.keys().filter(|name| !new.contains_key(*name)).copied().collect()),
        changed: owned(
            new.iter()
                .filter(|(name, value)| old.get(*name).is_some_and(|before| before != *value))
                .map(|(name, _)| *name)
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: RevisionNumber = RevisionNumber::FIRST;

    fn spec(flags: &[(&str, bool)]) -> Configuration {
        let flags = flags.iter().map(|(name, enabled)| Flag { name: (*name).into(), enabled: *enabled }).collect();
        Configuration { variables: vec![], flags }
    }

    fn from_nothing(spec: &Configuration) -> EffectiveConfiguration {
        merge(spec, &DeclaredConfiguration::default(), &EffectiveConfiguration::default(), FIRST)
    }

    fn values(config: &EffectiveConfiguration) -> Vec<(&str, bool)> {
        config.flags.iter().map(|flag| (flag.name.as_str(), flag.enabled)).collect()
    }

    #[test]
    fn what_the_base_brought_stays_until_spec_names_it() {
        let base = from_nothing(&spec(&[("BETA", true), ("DARK", false)]));
        let own = spec(&[("DARK", true)]);
        let cloned = merge(&own, &DeclaredConfiguration::default(), &inherited(&base), FIRST);
        assert_eq!(values(&cloned), [("BETA", true), ("DARK", true)]);

        let edited = merge(&spec(&[("DARK", true), ("NEW", true)]), &declared(&own), &cloned, FIRST.next());
        assert_eq!(values(&edited), [("BETA", true), ("DARK", true), ("NEW", true)]);
        assert_eq!(edited.flags.iter().map(|flag| flag.since.get()).collect::<Vec<_>>(), [1, 1, 2]);
    }

    #[test]
    fn a_key_removed_from_spec_is_removed_even_if_something_else_changed_its_value() {
        let old = spec(&[("BETA", true)]);
        let mut current = from_nothing(&old);
        current.flags[0].enabled = false;
        assert_eq!(values(&merge(&spec(&[]), &declared(&old), &current, FIRST.next())), []);
    }

    #[test]
    fn an_unrelated_edit_does_not_undo_what_came_otherwise() {
        let old = spec(&[("BETA", true)]);
        let mut current = from_nothing(&old);
        current.flags[0].enabled = false;
        let edited = merge(&spec(&[("BETA", true), ("NEW", true)]), &declared(&old), &current, FIRST.next());
        assert_eq!(values(&edited), [("BETA", false), ("NEW", true)]);
    }

    fn configurations() -> impl Strategy<Value = Configuration> {
        proptest::collection::btree_map("[A-D]", any::<bool>(), 0..4).prop_map(|flags| Configuration {
            variables: vec![],
            flags: flags.into_iter().map(|(name, enabled)| Flag { name, enabled }).collect(),
        })
    }

    proptest! {
        #[test]
        fn merging_what_was_seen_already_changes_nothing(old in configurations(), base in configurations()) {
            let current = from_nothing(&base);
            prop_assert_eq!(merge(&old, &declared(&old), &current, FIRST.next()), current);
        }

        #[test]
        fn the_order_of_keys_does_not_matter(config in configurations(), base in configurations()) {
            let mut reversed = config.clone();
            reversed.flags.reverse();
            let merged = |spec| merge(spec, &DeclaredConfiguration::default(), &from_nothing(&base), FIRST);
            prop_assert_eq!(digest(&merged(&config)), digest(&merged(&reversed)));
        }

        #[test]
        fn every_key_that_spec_changed_has_the_value_that_spec_says(old in configurations(), new in configurations(), base in configurations()) {
            let merged = merge(&new, &declared(&old), &from_nothing(&base), FIRST.next());
            for flag in new.flags.iter().filter(|flag| !old.flags.contains(flag)) {
                prop_assert!(values(&merged).contains(&(flag.name.as_str(), flag.enabled)));
            }
        }

        #[test]
        fn changes_name_exactly_the_keys_that_differ(from in configurations(), to in configurations()) {
            let (from, to) = (from_nothing(&from), from_nothing(&to));
            let there = changes(&from, &to).flags;
            let back = changes(&to, &from).flags;
            prop_assert_eq!((&there.added, &there.removed, &there.changed), (&back.removed, &back.added, &back.changed));
            prop_assert_eq!(there.is_empty(), values(&from) == values(&to));
        }
    }
}
