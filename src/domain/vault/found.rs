//! What is asked of Vault about an environment's place, and what is known of it then.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Change, Trouble, role_digest, secrets::Reference};
use crate::api::Digest;

/// The keys of secrets, by path below the mount; none where there is no secret.
pub type Keys = BTreeMap<String, Option<BTreeSet<String>>>;

/// What is asked of Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The configuration that it is asked for.
    pub config: Digest,
    /// What its variables refer to.
    pub references: Vec<Reference>,
    /// The paths of secrets to look at, below the mount.
    pub paths: BTreeSet<String>,
    /// Whether only secrets are looked at; policy and role are taken as they were found last.
    pub secrets_only: bool,
}

/// What was found in Vault, when it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// When all of it was.
    pub at: Timestamp,
    /// When secrets were last looked for that were missing.
    pub looked: Timestamp,
    /// What asked for it: the value of the annotation that somebody changes to have Vault looked at.
    pub requested: Option<String>,
    /// For which configuration.
    pub config: Digest,
    /// What its variables refer to.
    pub references: Vec<Reference>,
    /// The digest of the policy's text, if there is one.
    pub policy: Option<Digest>,
    /// The [`role_digest`](super::role_digest) of the role, if there is one.
    pub role: Option<Digest>,
    /// The keys of the secrets that were looked at, by path below the mount; none where there is no secret.
    pub secrets: Keys,
    /// The paths that could not be looked at.
    pub unread: BTreeSet<String>,
    /// Why not, for the first of them.
    pub trouble: Option<Trouble>,
}

/// What a look brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The digests of policy and role, as in [`Found`]; `None` if they were not looked at.
    pub access: Option<(Option<Digest>, Option<Digest>)>,
    /// As in [`Found`].
    pub secrets: Keys,
    /// As in [`Found`].
    pub unread: BTreeSet<String>,
    /// As in [`Found`].
    pub trouble: Option<Trouble>,
}

impl Found {
    /// What is known after a look. What it left out is as it was found `before`.
    #[must_use]
    pub fn new(query: Query, look: Look, requested: Option<String>, before: Option<&Self>, now: Timestamp) -> Self {
        let before = before.filter(|_| query.secrets_only);
        let known = before.map(|before| (before.policy, before.role));
        let (policy, role) = look.access.or(known).unwrap_or_default();
        let mut secrets = before.map(|before| before.secrets.clone()).unwrap_or_default();
        secrets.extend(look.secrets);
        Self {
            at: before.map_or(now, |before| before.at),
            looked: now,
            requested,
            config: query.config,
            references: query.references,
            policy,
            role,
            secrets,
            unread: look.unread,
            trouble: look.trouble,
        }
    }

    /// What is known after a change that was made. `keys` are those of a secret that was made, or that somebody else made meanwhile.
    #[must_use]
    pub fn after(mut self, change: &Change, keys: Option<BTreeSet<String>>) -> Self {
        match change {
            Change::Policy { text, .. } => self.policy = Some(Digest::of(text.as_bytes())),
            Change::Role(role) => self.role = Some(role_digest(role, role)),
            Change::Make { path, .. } => drop(self.secrets.insert(path.clone(), keys)),
            Change::RemoveRole => self.role = None,
            Change::RemovePolicy => self.policy = None,
            Change::RemoveSecrets => self.secrets.clear(),
        }
        self
    }
}
