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
        environment::{DivergedKey, KeyKind},
        promotion::CarriedConfiguration,
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

/// The configuration with some entries of another environment's, by name, brought by this revision. A reference to a
/// secret is relative to its environment, so in the target it means the target's own secret.
///
/// Fails with the names that the other environment does not have.
pub fn carried(
    into: &EffectiveConfiguration,
    from: &EffectiveConfiguration,
    what: &CarriedConfiguration,
    revision: RevisionNumber,
) -> Result<EffectiveConfiguration, Vec<String>> {
    let variables = carry(&into.variables, &from.variables, &what.variables, revision);
    let flags = carry(&into.flags, &from.flags, &what.flags, revision);
    match (variables, flags) {
        (Ok(variables), Ok(flags)) => Ok(EffectiveConfiguration { variables, flags }),
        (variables, flags) => Err(variables.err().into_iter().chain(flags.err()).flatten().collect()),
    }
}

/// The configuration of an earlier revision, brought back by this one. What is the same now keeps who brought it.
#[must_use]
pub fn restored(
    current: &EffectiveConfiguration,
    earlier: &EffectiveConfiguration,
    revision: RevisionNumber,
) -> EffectiveConfiguration {
    EffectiveConfiguration {
        variables: restore(&current.variables, &earlier.variables, revision),
        flags: restore(&current.flags, &earlier.flags, revision),
    }
}

/// Keys of `spec.config` that have another value than it says, each with the revision that brought it.
#[must_use]
pub fn diverged(declared: &DeclaredConfiguration, config: &EffectiveConfiguration) -> Vec<DivergedKey> {
    let mut diverged = differing(KeyKind::Variable, &declared.variables, &config.variables);
    diverged.extend(differing(KeyKind::Flag, &declared.flags, &config.flags));
    diverged
}

/// What changed from one configuration to another.
#[must_use]
pub fn changes(from: &EffectiveConfiguration, to: &EffectiveConfiguration) -> Changes {
    Changes {
        content: BTreeMap::new(),
        variables: compare(&from.variables, &to.variables),
        flags: compare(&from.flags, &to.flags),
    }
}

/// An entry of a configuration, known by its name.
trait Entry: Clone {
    /// The same entry as it stands in `spec.config`, without provenance.
    type Declared: Clone + PartialEq + Serialize;

    fn name(&self) -> &str;
    fn since(&self) -> RevisionNumber;
    fn content(&self) -> Self::Declared;
    fn brought_by(declared: &Self::Declared, revision: RevisionNumber) -> Self;
    fn name_of(declared: &Self::Declared) -> &str;
}

impl Entry for EffectiveVariable {
    type Declared = Variable;

    fn name(&self) -> &str {
        &self.name
    }

    fn since(&self) -> RevisionNumber {
        self.since
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

    fn since(&self) -> RevisionNumber {
        self.since
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

fn carry<E: Entry>(into: &[E], from: &[E], names: &[String], revision: RevisionNumber) -> Result<Vec<E>, Vec<String>> {
    let there: BTreeMap<&str, &E> = from.iter().map(|entry| (entry.name(), entry)).collect();
    let missing: Vec<String> = names.iter().filter(|name| !there.contains_key(name.as_str())).cloned().collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let mut result: BTreeMap<&str, E> = into.iter().map(|entry| (entry.name(), entry.clone())).collect();
    for (name, entry) in names.iter().filter_map(|name| there.get_key_value(name.as_str())) {
        let content = entry.content();
        if result.get(name).is_none_or(|present| present.content() != content) {
            result.insert(name, E::brought_by(&content, revision));
        }
    }
    Ok(result.into_values().collect())
}

fn restore<E: Entry>(current: &[E], earlier: &[E], revision: RevisionNumber) -> Vec<E> {
    let now: BTreeMap<&str, &E> = current.iter().map(|entry| (entry.name(), entry)).collect();
    let same = |entry: &E| now.get(entry.name()).filter(|present| present.content() == entry.content());
    let of = |entry: &E| same(entry).map_or_else(|| E::brought_by(&entry.content(), revision), |same| (*same).clone());
    earlier.iter().map(of).collect()
}

fn differing<E: Entry>(kind: KeyKind, declared: &BTreeMap<String, Digest>, config: &[E]) -> Vec<DivergedKey> {
    let there: BTreeMap<&str, &E> = config.iter().map(|entry| (entry.name(), entry)).collect();
    let differs = |(name, digest): &(&String, &Digest)| {
        there.get(name.as_str()).is_none_or(|entry| canonical::digest(&entry.content()) != **digest)
    };
    let key = |(name, _): (&String, &Digest)| DivergedKey {
        kind,
        name: name.clone(),
        revision: there.get(name.as_str()).map(|entry| entry.since()),
    };
    declared.iter().filter(differs).map(key).collect()
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

    #[test]
    fn what_is_carried_along_comes_with_its_revision_and_nothing_else_does() {
        let (production, staging) =
            (from_nothing(&spec(&[("BETA", false)])), from_nothing(&spec(&[("BETA", true), ("DARK", true)])));
        let what = CarriedConfiguration { variables: vec![], flags: vec!["BETA".to_owned()] };
        let carried = carried(&production, &staging, &what, FIRST.next()).unwrap();
        assert_eq!(values(&carried), [("BETA", true)]);
        assert_eq!(carried.flags[0].since, FIRST.next());
    }

    #[test]
    fn what_the_source_does_not_have_cannot_be_carried_and_is_named() {
        let what = CarriedConfiguration { variables: vec!["API_KEY".to_owned()], flags: vec!["BETA".to_owned()] };
        let nothing = EffectiveConfiguration::default();
        assert_eq!(carried(&nothing, &nothing, &what, FIRST).unwrap_err(), ["API_KEY", "BETA"]);
    }

    #[test]
    fn what_a_rollback_brought_back_is_listed_until_spec_says_otherwise() {
        let (old, new) = (spec(&[("BETA", false)]), spec(&[("BETA", true), ("NEW", true)]));
        let first = from_nothing(&old);
        let second = merge(&new, &declared(&old), &first, FIRST.next());
        assert_eq!(diverged(&declared(&new), &second), []);
        let third = FIRST.next().next();
        let back = restored(&second, &first, third);
        assert_eq!(values(&back), [("BETA", false)]);
        let key = |name: &str, revision| DivergedKey { kind: KeyKind::Flag, name: name.to_owned(), revision };
        assert_eq!(diverged(&declared(&new), &back), [key("BETA", Some(third)), key("NEW", None)]);
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
        fn restoring_what_applies_changes_nothing(config in configurations()) {
            let current = from_nothing(&config);
            prop_assert_eq!(restored(&current, &current, FIRST.next()), current);
        }

        #[test]
        fn a_rollback_has_exactly_the_values_of_the_revision_that_it_restores(one in configurations(), other in configurations()) {
            let (one, other) = (from_nothing(&one), from_nothing(&other));
            prop_assert_eq!(digest(&restored(&one, &other, FIRST.next())), digest(&other));
        }

        #[test]
        fn carrying_key_by_key_or_all_at_once_is_the_same(into in configurations(), from in configurations()) {
            let (into, from) = (from_nothing(&into), from_nothing(&from));
            let names: Vec<String> = from.flags.iter().map(|flag| flag.name.clone()).collect();
            let carry = |into: &EffectiveConfiguration, flags: Vec<String>| {
                carried(into, &from, &CarriedConfiguration { variables: vec![], flags }, FIRST.next()).unwrap()
            };
            let at_once = carry(&into, names.clone());
            let one_by_one = names.into_iter().rev().fold(into, |into, name| carry(&into, vec![name]));
            prop_assert_eq!(one_by_one, at_once);
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
