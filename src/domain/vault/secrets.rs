//! The secrets that an environment's variables refer to: where each lies, and what a clone does about it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Found, Place};
use crate::{
    api::{
        EnvironmentClass, PlatformEnvironmentSpec, RevisionNumber, SecretState, SecretStatus, SecretStrategy,
        revision::EffectiveConfiguration,
    },
    domain::names::some_of,
};

/// What a variable refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The variable.
    pub name: String,
    /// The path below the environment's prefix.
    pub path: String,
    /// The key within the secret.
    pub key: String,
    /// Whether it came with what the environment was cloned from.
    pub from_the_start: bool,
}

/// What the variables of a configuration refer to.
#[must_use]
pub fn references(config: &EffectiveConfiguration) -> Vec<Reference> {
    let secret = config.variables.iter().filter_map(|variable| Some((variable, variable.vault.as_ref()?)));
    let reference =
        |(variable, vault): (&crate::api::revision::EffectiveVariable, &crate::api::VaultReference)| Reference {
            name: variable.name.clone(),
            path: vault.path.clone(),
            key: vault.key.clone(),
            from_the_start: variable.since == RevisionNumber::FIRST,
        };
    secret.map(reference).collect()
}

/// The environment that another one was cloned from, as far as it still exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSecrets {
    /// Its class.
    pub class: EnvironmentClass,
    /// Its place in Vault.
    pub place: Place,
    /// The variables that refer to secrets of the project, and not to its own.
    pub shared: BTreeSet<String>,
}

/// A strategy that nobody allows here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// A value would be on both sides of Production's border.
    #[error(
        "spec.baseFrom: {strategy} of {name} would give an environment of class {class} a secret of one of class {base}, and \
         nothing is shared between Production and other classes here; create the environment anew with Regenerate or \
         Placeholder for it, or have the platform team allow it (--vault-across-production, in the chart vault.acrossProduction)",
        strategy = .strategy.as_str(), class = .class.as_str(), base = .base.as_str()
    )]
    Border {
        /// The variable.
        name: String,
        /// What was asked for.
        strategy: SecretStrategy,
        /// The clone's class.
        class: EnvironmentClass,
        /// The base's class.
        base: EnvironmentClass,
    },
    /// The operator may not read secrets.
    #[error(
        "spec.baseFrom: Copy of {name} needs an operator that may read secrets, and this one may not; create the environment \
         anew with Regenerate or Placeholder for it, or have the platform team allow it (--vault-allow-copy, in the chart \
         vault.allowCopy)"
    )]
    Copy {
        /// The variable.
        name: String,
    },
    /// There is nothing of the base's own to copy.
    #[error(
        "spec.baseFrom: there is nothing to copy for {name}: its base itself refers to the project's shared secret; create the environment \
         anew with Reference for it"
    )]
    Referred {
        /// The variable.
        name: String,
    },
    /// Most likely a typing error, which must not give the secret that is meant another strategy.
    #[error(
        "spec.baseFrom.secretKeys: no variable {name} refers to a secret, so nothing was made; {known}; create the environment anew \
         with the right name"
    )]
    Unknown {
        /// What is named.
        name: String,
        /// The names that would do, in words.
        known: String,
    },
}

/// How many keys that no variable names come along with a secret.
const MOST_OTHER_KEYS: usize = 100;

/// What an environment's secrets look like and what is to be done about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// As the status says it.
    pub status: Vec<SecretStatus>,
    /// The secrets that the environment may read, by path below the mount: those that its variables refer to.
    pub readable: BTreeSet<String>,
    /// What has to be made.
    pub changes: Vec<Change>,
    /// What is asked for and not allowed.
    pub forbidden: Option<Forbidden>,
    /// Secrets that are copied as soon as the base has them all: own path, and the base's, below the mount.
    pub waiting: BTreeMap<String, String>,
    /// The paths, below the mount, at which there is a secret with keys.
    pub there: BTreeSet<String>,
}

/// The rules for an environment's secrets.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The environment.
    pub spec: &'a PlatformEnvironmentSpec,
    /// Its place.
    pub place: &'a Place,
    /// What it was cloned from, while that exists.
    pub base: Option<&'a BaseSecrets>,
    /// What was last said of its secrets.
    pub said: &'a [SecretStatus],
    /// Whether values may be copied.
    pub allow_copy: bool,
    /// What may cross Production's border.
    pub across_production: &'a BTreeSet<SecretStrategy>,
    /// Whether the names in `secretKeys` are judged: by the variables of the first revision, and from then on until it is said that they
    /// are right. Later ones may be called otherwise.
    pub judges_names: bool,
}

impl Rules<'_> {
    /// What a clone does about a secret; `None` for one that did not come with the clone.
    fn strategy(&self, reference: &Reference) -> Option<SecretStrategy> {
        let base =
            self.spec.base_from.as_ref().filter(|base| base.environment.is_some() && reference.from_the_start)?;
        let own = base.secret_keys.iter().find(|own| own.name == reference.name).map(|own| own.strategy);
        own.or(base.secrets).or(Some(SecretStrategy::default()))
    }

    fn refused(&self, name: &str, strategy: SecretStrategy) -> Option<Forbidden> {
        let shares = matches!(strategy, SecretStrategy::Reference | SecretStrategy::Copy);
        if !shares || self.was_accepted(name, strategy) {
            return None;
        }
        let base = self.base_class();
        if self.crosses() && !self.across_production.contains(&strategy) {
            return Some(Forbidden::Border { name: name.to_owned(), strategy, class: self.spec.class, base });
        }
        let copies = strategy == SecretStrategy::Copy;
        if copies && self.base.is_some_and(|base| base.shared.contains(name)) {
            return Some(Forbidden::Referred { name: name.to_owned() });
        }
        (copies && !self.allow_copy).then(|| Forbidden::Copy { name: name.to_owned() })
    }

    /// The base's class. A base that is gone counts as of the environment's own side: nothing of it is read any more, and what is
    /// shared is looked for on that side.
    fn base_class(&self) -> EnvironmentClass {
        self.base.map_or(self.spec.class, |base| base.class)
    }

    /// Whether one of both is Production, and the other is not.
    fn crosses(&self) -> bool {
        let production = |class| class == EnvironmentClass::Production;
        production(self.spec.class) != production(self.base_class())
    }

    /// What `secretKeys` names although no variable of that name refers to a secret.
    fn unknown(&self, references: &[Reference]) -> Option<Forbidden> {
        let base = self.spec.base_from.as_ref().filter(|base| base.environment.is_some())?;
        let known: BTreeSet<&str> = references.iter().map(|reference| reference.name.as_str()).collect();
        let unknown = base.secret_keys.iter().find(|own| !known.contains(own.name.as_str()))?;
        let known: Vec<&str> = known.into_iter().collect();
        let known = match known.as_slice() {
            [] => "no variable does".to_owned(),
            names => format!("those that do are {}", some_of(names)),
        };
        Some(Forbidden::Unknown { name: unknown.name.clone(), known })
    }

    /// What is asked for and not allowed, as far as that can be said without a look into Vault.
    #[must_use]
    pub fn forbidden(&self, references: &[Reference]) -> Option<Forbidden> {
        let refused = |reference: &Reference| self.refused(&reference.name, self.strategy(reference)?);
        let unknown = || self.unknown(references).filter(|_| self.judges_names);
        references.iter().find_map(refused).or_else(unknown)
    }

    /// What was accepted and is there goes on: the base may be gone by now. What is not there yet is judged anew each time: the
    /// base may be another environment of the same name, and of another class.
    fn was_accepted(&self, name: &str, strategy: SecretStrategy) -> bool {
        let same = |said: &&SecretStatus| said.name == name && said.strategy == Some(strategy);
        self.said.iter().filter(same).any(|said| said.state.was_there())
    }

    /// What was last said of a value.
    fn said_of(&self, reference: &Reference, path: &str) -> Option<SecretState> {
        let mut same = self.said.iter().filter(|said| said.path == path && said.key == reference.key);
        same.next().map(|said| said.state)
    }

    /// Whether there was a secret at some time. What was there and is gone was taken away, and is not made anew.
    fn was_there(&self, path: &str) -> bool {
        self.said.iter().any(|said| said.path == path && said.state.was_there())
    }

    fn path(&self, reference: &Reference, strategy: Option<SecretStrategy>) -> String {
        if strategy != Some(SecretStrategy::Reference) {
            return self.place.path(&reference.path);
        }
        // It is on the base's side of Production's border, and stays there when the base is gone.
        let before = self.said.iter().find(|said| said.name == reference.name && said.strategy == strategy);
        let sides = [EnvironmentClass::Production, EnvironmentClass::Staging];
        let mut both = sides.map(|side| self.place.shared(side, &reference.path)).into_iter();
        let own = self.place.shared(self.base_class(), &reference.path);
        both.find(|path| before.is_some_and(|said| said.path == *path)).unwrap_or(own)
    }

    /// The paths below the mount that have to be looked at to say anything about these references.
    #[must_use]
    pub fn paths(&self, references: &[Reference]) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        for reference in references {
            let strategy = self.strategy(reference);
            paths.insert(self.path(reference, strategy));
            if let (Some(base), Some(SecretStrategy::Regenerate | SecretStrategy::Copy)) = (self.base, strategy) {
                paths.insert(base.place.path(&reference.path));
            }
        }
        paths
    }

    /// Whether all of these were there when they were last looked at.
    #[must_use]
    pub fn were_ready(&self, references: &[Reference]) -> bool {
        references.iter().all(|reference| {
            let path = self.path(reference, self.strategy(reference));
            let same =
                |said: &&SecretStatus| said.name == reference.name && said.path == path && said.key == reference.key;
            self.said.iter().find(same).is_some_and(|said| said.state == SecretState::Ready)
        })
    }

    /// Compares what was found with what is wanted.
    #[must_use]
    pub fn compare(&self, found: &Found) -> Secrets {
        let judged: Vec<Judged<'_>> = found.references.iter().map(|reference| self.judge(reference, found)).collect();
        let mut secrets = Secrets {
            readable: judged.iter().filter(|value| value.is_readable()).map(|value| value.path.clone()).collect(),
            forbidden: judged.iter().find_map(|value| value.refused.clone()),
            ..Secrets::default()
        };
        for (path, keys) in makeable(&judged) {
            match self.make(found, path, &keys) {
                Some(change) => secrets.changes.push(change),
                None => secrets.waiting.extend(self.base.map(|base| (self.place.path(path), base.place.path(path)))),
            }
        }
        // What is meant by the wrong name must not be made in another way.
        if let Some(unknown) = self.unknown(&found.references).filter(|_| self.judges_names) {
            secrets.changes.clear();
            secrets.forbidden = secrets.forbidden.or(Some(unknown));
        }
        let there = found.secrets.iter().filter(|(_, keys)| keys.as_ref().is_some_and(|keys| !keys.is_empty()));
        secrets.there = there.map(|(path, _)| path.clone()).collect();
        secrets.status = judged.into_iter().map(Judged::status).collect();
        secrets
    }

    /// Compares what was found with what is wanted of one value.
    fn judge<'r>(&self, reference: &'r Reference, found: &Found) -> Judged<'r> {
        let strategy = self.strategy(reference);
        let refused = strategy.and_then(|strategy| self.refused(&reference.name, strategy));
        let path = self.path(reference, strategy);
        let secret = found.secrets.get(&path).and_then(Option::as_ref);
        let is_unread = found.unread.contains(&path);
        let state = match self.said_of(reference, &path) {
            // Nothing is known beyond what was said.
            said if is_unread => said.unwrap_or(SecretState::Missing),
            _ if refused.is_none() && secret.is_some_and(|keys| keys.contains(&reference.key)) => SecretState::Ready,
            Some(said) if said.was_there() => SecretState::Lost,
            _ => SecretState::Missing,
        };
        let may_be_made = secret.is_none() && !is_unread && !self.was_there(&path);
        Judged { reference, strategy, refused, path, state, may_be_made }
    }

    /// What the base has beside the keys that are referred to comes along: as a copy where nothing but copies is wanted. Not across
    /// Production's border, where the names of keys are nobody's business, and not if they are very many.
    fn make(&self, found: &Found, path: &str, keys: &[(&Reference, SecretStrategy)]) -> Option<Change> {
        let of = |wanted: SecretStrategy| -> BTreeSet<String> {
            let of_it = keys.iter().filter(|(_, strategy)| *strategy == wanted);
            of_it.map(|(reference, _)| reference.key.clone()).collect()
        };
        let (mut generate, mut copy) = (of(SecretStrategy::Regenerate), of(SecretStrategy::Copy));
        let from = self.base.map(|base| base.place.path(path));
        let base = from.as_ref().and_then(|from| found.secrets.get(from)?.clone()).unwrap_or_default();
        let is_unread = from.as_ref().is_some_and(|from| found.unread.contains(from));
        if is_unread || !copy.is_subset(&base) {
            // There is nothing to copy yet.
            return None;
        }
        // Which of the base's keys a variable names has a strategy of its own: a placeholder stays empty.
        let named =
            |key: &String| found.references.iter().any(|reference| reference.path == path && reference.key == *key);
        let mut rest: BTreeSet<String> = base.into_iter().filter(|key| !named(key)).collect();
        if self.crosses() || rest.len() > MOST_OTHER_KEYS {
            rest.clear();
        }
        if generate.is_empty() {
            copy.extend(rest);
        } else {
            generate.extend(rest);
        }
        Some(Change::Make { path: self.place.path(path), generate, copy, from })
    }
}

/// What is found and wanted of one value.
struct Judged<'r> {
    reference: &'r Reference,
    strategy: Option<SecretStrategy>,
    refused: Option<Forbidden>,
    /// Of its secret, below the mount.
    path: String,
    state: SecretState,
    /// There is no secret at the path, and never was.
    may_be_made: bool,
}

impl Judged<'_> {
    /// Nobody reads a shared secret who may not have it.
    fn is_readable(&self) -> bool {
        self.refused.is_none() || self.strategy != Some(SecretStrategy::Reference)
    }

    fn status(self) -> SecretStatus {
        SecretStatus {
            name: self.reference.name.clone(),
            path: self.path,
            key: self.reference.key.clone(),
            strategy: self.strategy.filter(|_| self.refused.is_none()),
            state: self.state,
            secret: None,
        }
    }
}

/// The secrets that have to be made, by relative path, and what becomes of which key. One secret may hold several keys, and is made with
/// all of them at once or not at all.
fn makeable<'r>(judged: &[Judged<'r>]) -> BTreeMap<&'r str, Vec<(&'r Reference, SecretStrategy)>> {
    let mut made: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for value in judged.iter().filter(|value| value.may_be_made && value.refused.is_none()) {
        if let Some(strategy @ (SecretStrategy::Regenerate | SecretStrategy::Copy)) = value.strategy {
            made.entry(&value.reference.path).or_default().push((value.reference, strategy));
        }
    }
    let refused = |path: &str| judged.iter().any(|value| value.refused.is_some() && value.reference.path == path);
    made.retain(|path, _| !refused(path));
    made
}
