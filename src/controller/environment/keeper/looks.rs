//! Looks at an environment's place.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use super::{AT_A_TIME, Keeper, Known, MOST_FAILURES, Partly, in_turn, policy_path};
use crate::{
    api::Digest,
    domain::vault::{Found, Look, Place, Query, Trouble, role_digest},
    kube_ext::key::ObjectKey,
    vault::VaultError,
};

/// How often it is looked whether the mounts are still there, when all that was looked for is not.
pub(super) const MOUNTS: Duration = Duration::from_secs(10);

impl Keeper {
    /// Looks at the environment's place, and says what is in the way of that.
    pub(super) async fn look(
        &self,
        key: &ObjectKey,
        place: &Place,
        query: Query,
        asked: Option<&str>,
        since: Instant,
        known: &mut Known,
    ) -> Option<Trouble> {
        let looked = self.look_at(key, place, query, asked, since, known).await;
        let trouble = looked.err().map(|error| {
            let what = "look at the environment's place";
            self.trouble(key, what, &error, known.failing_since(&error))
        });
        self.remember(key, &place.uid, known);
        trouble
    }

    /// A secret that cannot be looked at keeps no other one from that.
    async fn look_at(
        &self,
        key: &ObjectKey,
        place: &Place,
        query: Query,
        asked: Option<&str>,
        since: Instant,
        known: &mut Known,
    ) -> Result<(), VaultError> {
        if self.mounts_seen().is_none() {
            self.look_for_mounts().await?;
        }
        let is_good = |partly: &Partly| partly.began.elapsed() < self.settings.check_interval;
        let goes_on = |partly: &Partly| is_good(partly) && partly.requested.as_deref() == asked;
        let anew = || Partly { began: Instant::now(), requested: asked.map(str::to_owned), look: Look::default() };
        let Partly { began, requested, mut look } = known.partly.take().filter(goes_on).unwrap_or_else(anew);
        if look.access.is_none() && (known.found.is_none() || !query.secrets_only) {
            look.access = Some(self.access(place).await?);
        }
        let left: BTreeSet<_> = query.paths.iter().filter(|path| !look.secrets.contains_key(*path)).cloned().collect();
        if let Err(error) = self.look_at_secrets(key, left, since, known, &mut look).await {
            // A Vault that comes back may be another one.
            let was_down = matches!(error, VaultError::Down { .. });
            known.partly = (!was_down).then_some(Partly { began, requested, look });
            return Err(error);
        }
        // As if nothing was ever there: perhaps the mount is gone.
        let long_ago = self.mounts_seen().is_none_or(|at| at.elapsed() > MOUNTS);
        if long_ago && !look.secrets.is_empty() && look.secrets.values().all(Option::is_none) {
            self.look_for_mounts().await?;
        }
        // What was looked at slowly is not old already.
        let found = Found::new(query, look, requested, known.found.as_deref(), Timestamp::now());
        known.found = Some(Arc::new(found));
        Ok(())
    }

    async fn look_at_secrets(
        &self,
        key: &ObjectKey,
        mut left: BTreeSet<String>,
        since: Instant,
        known: &mut Known,
        look: &mut Look,
    ) -> Result<(), VaultError> {
        let mut looks = stream::iter(in_turn(left.iter().cloned(), left.len(), known.passed_over))
            .map(|path| async move { (self.vault.subkeys(&self.settings.mount, &path).await, path) })
            .buffer_unordered(AT_A_TIME);
        let mut failures = BTreeMap::new();
        while let Some((found, path)) = looks.next().await {
            left.remove(&path);
            match found {
                Ok(keys) => drop(look.secrets.insert(path, keys)),
                Err(error @ (VaultError::Down { .. } | VaultError::Throttled)) => return Err(error),
                Err(error) => drop(failures.insert(path, error)),
            }
            if left.is_empty() || failures.len() == MOST_FAILURES {
                break;
            }
            self.in_time(since)?;
        }
        let Some((path, error)) = failures.first_key_value() else { return Ok(()) };
        let what = if left.is_empty() {
            format!("look at the secret {path}")
        } else {
            known.passed_over += MOST_FAILURES;
            "look at the environment's secrets".to_owned()
        };
        look.trouble = Some(self.trouble(key, &what, error, known.failing_since(error)));
        look.unread = failures.into_keys().chain(left).collect();
        Ok(())
    }

    /// Whether it may be at Vault any longer.
    pub(super) fn in_time(&self, since: Instant) -> Result<(), VaultError> {
        if since.elapsed() > self.patience { Err(VaultError::Late(self.patience)) } else { Ok(()) }
    }

    async fn look_for_mounts(&self) -> Result<(), VaultError> {
        self.vault.look_for_kv(&self.settings.mount).await?;
        self.vault.look_for_kubernetes(&self.settings.auth_path).await?;
        *self.mounts_seen() = Some(Instant::now());
        Ok(())
    }

    pub(super) fn mounts_seen(&self) -> MutexGuard<'_, Option<Instant>> {
        self.mounts_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digests of policy and role.
    async fn access(&self, place: &Place) -> Result<(Option<Digest>, Option<Digest>), VaultError> {
        let name = place.role();
        let (policy, role) = (policy_path(&name), self.role_path(&name));
        let (policy, role) = futures::try_join!(self.vault.read(&policy), self.vault.read(&role))?;
        let text = policy.as_ref().and_then(|policy| policy["policy"].as_str());
        let ours = place.role_body(&self.settings, "");
        Ok((text.map(|text| Digest::of(text.as_bytes())), role.map(|role| role_digest(&role, &ours))))
    }
}
