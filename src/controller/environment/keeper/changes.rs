//! Changes an environment's place.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::{AT_A_TIME, Keeper, Known, MOST_FAILURES, encoded, in_turn, policy_path};
use crate::{
    domain::vault::{Change, CopyLogin, Place, Trouble},
    kube_ext::key::ObjectKey,
    vault::{VaultError, value::SecretJson},
};

/// Deeper than any path that a variable may name.
const DEEPEST: usize = 130;

impl Keeper {
    /// Makes changes one after the other, and says what is in the way of one of them. One secret that cannot be made keeps no other one
    /// from being made.
    pub(super) async fn change(
        &self,
        key: &ObjectKey,
        place: &Place,
        changes: &[Change],
        since: Instant,
        known: &mut Known,
    ) -> Option<Trouble> {
        let (mut failures, mut tried) = (BTreeMap::new(), 0);
        for (index, change) in in_turn(changes.iter().enumerate(), changes.len(), known.passed_over) {
            let done = match self.in_time(since) {
                Ok(()) => self.change_one(place, change, since, known).await,
                late => late,
            };
            tried += 1;
            let Err(error) = done else { continue };
            let ends = matches!(error, VaultError::Down { .. } | VaultError::Throttled | VaultError::Late(_));
            failures.insert(index, (change, error));
            if ends || failures.len() == MOST_FAILURES {
                break;
            }
        }
        if failures.len() == MOST_FAILURES {
            known.passed_over += MOST_FAILURES;
        }
        let trouble = failures.first_key_value().map(|(_, (change, error))| {
            let what = match change {
                Change::Make { .. } if tried < changes.len() => "make the environment's secrets".to_owned(),
                change => change.to_string(),
            };
            self.trouble(key, &what, error, known.failing_since(error))
        });
        self.remember(key, &place.uid, known);
        trouble
    }

    async fn change_one(
        &self,
        place: &Place,
        change: &Change,
        since: Instant,
        known: &mut Known,
    ) -> Result<(), VaultError> {
        let name = place.role();
        let mut made = None;
        match change {
            Change::Policy { text, expires } => {
                let mut body = json!({"policy": text});
                if let Some(expires) = expires {
                    body["expiration"] = json!(expires.to_string());
                }
                self.vault.write(&policy_path(&name), &body).await?;
            }
            Change::Role(role) => self.vault.write(&self.role_path(&name), role).await?,
            Change::Make { path, generate, copy, from } => {
                self.make(place, path, generate, copy, from.as_deref()).await?;
                // Somebody may have been faster. What is there now is what counts.
                made = self.vault.subkeys(&self.settings.mount, path).await?;
            }
            Change::RemoveRole => {
                // What a copy that failed may have left.
                let copy = CopyLogin::name(place);
                if self.settings.allow_copy {
                    self.vault.delete(&self.role_path(&copy)).await?;
                    self.vault.delete(&policy_path(&copy)).await?;
                }
                if !self.vault.delete(&self.role_path(&name)).await? {
                    // A mount that is not there has no role, which is not to say that none is left.
                    self.vault.look_for_kubernetes(&self.settings.auth_path).await?;
                }
                known.gone.role = true;
            }
            Change::RemovePolicy => {
                self.vault.delete(&policy_path(&name)).await?;
                known.gone.policy = true;
            }
            Change::RemoveSecrets => {
                // A mount that is not there has nothing in it, which is not to say that nothing is left.
                self.vault.look_for_kv(&self.settings.mount).await?;
                self.remove_secrets(&place.prefix(), since).await?;
                known.gone.secrets = true;
            }
        }
        known.found = known.found.take().map(|found| Arc::new(Arc::unwrap_or_clone(found).after(change, made)));
        Ok(())
    }

    /// A secret is made once: Vault refuses a second first version, and the operator has no right to another one.
    async fn make(
        &self,
        place: &Place,
        path: &str,
        generate: &BTreeSet<String>,
        copy: &BTreeSet<String>,
        from: Option<&str>,
    ) -> Result<(), VaultError> {
        let new = |key: String| async {
            let value = self.vault.generate(&self.settings.password_policy).await?;
            Ok((key, SecretJson::text(&value)))
        };
        let mut values: Vec<(String, SecretJson)> =
            stream::iter(generate.iter().cloned()).map(new).buffer_unordered(AT_A_TIME).try_collect().await?;
        if let Some(from) = from.filter(|_| !copy.is_empty()) {
            values.extend(self.copied(place, from, copy).await?);
            // One that is gone by now: a secret that lacks it could not be mended.
            if !copy.iter().all(|key| values.iter().any(|(found, _)| found == key)) {
                return Err(VaultError::Invalid(404));
            }
        }
        match self.vault.create(&self.settings.mount, path, values).await {
            // Refused because it is there by now: with a 403, since there it would be a change; or by the check for the first version.
            Err(error @ (VaultError::Denied | VaultError::Invalid(400))) => {
                match self.vault.subkeys(&self.settings.mount, path).await? {
                    Some(_) => Ok(()),
                    None if error == VaultError::Denied => Err(VaultError::NotMade),
                    None => Err(error),
                }
            }
            made => made,
        }
    }

    /// These values of another secret. Not given up half-way, so that the login with which they are read ends with it.
    async fn copied(
        &self,
        place: &Place,
        from: &str,
        keys: &BTreeSet<String>,
    ) -> Result<Vec<(String, SecretJson)>, VaultError> {
        let operator = (self.service_account.0.as_str(), self.service_account.1.as_str());
        let login = CopyLogin::new(&self.settings, place, from, operator);
        let copying = Copying::begin(&self.copying, &login.name);
        let (vault, settings) = (self.vault.clone(), self.settings.clone());
        let (from, keys) = (from.to_owned(), keys.clone());
        let read = tokio::spawn(async move {
            let _copying = copying;
            vault.values(&settings, &login, &from, &keys).await
        });
        read.await.unwrap_or_else(|_| Err(VaultError::Unreachable("the operator's own work ended early".to_owned())))
    }

    /// All versions of all secrets below a prefix.
    pub(super) async fn remove_secrets(&self, prefix: &str, since: Instant) -> Result<(), VaultError> {
        let metadata = format!("{}/metadata/", self.settings.mount);
        let mut folders = vec![format!("{prefix}/")];
        for depth in 0.. {
            if folders.is_empty() {
                break;
            }
            if depth == DEEPEST {
                return Err(VaultError::TooDeep(DEEPEST));
            }
            let mut deeper = vec![];
            for folder in folders {
                let names = self.vault.list(&format!("{metadata}{folder}")).await?;
                let (below, secrets): (Vec<String>, Vec<String>) =
                    names.into_iter().partition(|name| name.ends_with('/'));
                deeper.extend(below.iter().map(|name| format!("{folder}{}", encoded(name))));
                stream::iter(secrets)
                    .map(|name| {
                        let path = format!("{metadata}{folder}{}", encoded(&name));
                        async move {
                            self.vault.delete(&path).await?;
                            // Not before: so one at least goes each time.
                            self.in_time(since)
                        }
                    })
                    .buffer_unordered(AT_A_TIME)
                    .try_collect::<()>()
                    .await?;
            }
            folders = deeper;
        }
        Ok(())
    }
}

/// A login that is in use for as long as this value lives.
struct Copying(Arc<Mutex<BTreeSet<String>>>, String);

impl Copying {
    fn begin(all: &Arc<Mutex<BTreeSet<String>>>, login: &str) -> Self {
        all.lock().unwrap_or_else(PoisonError::into_inner).insert(login.to_owned());
        Self(all.clone(), login.to_owned())
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}
