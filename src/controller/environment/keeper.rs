//! What the operator knows of environments' places in Vault, and how it looks and changes something there.
//!
//! What goes wrong here stops nothing else: it becomes a [`Trouble`] that the plan reports.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{EnvironmentController, Live, Thing, base_of};
use crate::{
    api::{Digest, PlatformEnvironment, SecretStrategy},
    controller::run_loop::{Limits, Trigger},
    domain::{
        environment::{plan::Step, secrets::look_requested, snapshot::VaultView},
        vault::{
            Change, CopyLogin, Found, Gone, Look, Place, Query, Trouble, VaultSettings, role_digest,
            secrets::BaseSecrets,
        },
    },
    kube_ext::key::ObjectKey,
    vault::{Vault, VaultError, value::SecretJson},
};

mod sweep;
mod trouble;
mod turns;

use turns::Turns;
pub use turns::Visit;

/// How many secrets of one environment are looked at, generated or removed at once.
const AT_A_TIME: usize = 4;
/// How often it is looked whether the mounts are still there, when all that was looked for is not.
const MOUNTS: Duration = Duration::from_secs(10);
/// After so many of an environment's secrets could not be looked at or made, no others are tried: it is a right that is missing.
const MOST_FAILURES: usize = 8;
/// Deeper than any path that a variable may name.
const DEEPEST: usize = 130;

/// What is known of one environment's place.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What was found, when it was last looked at.
    pub found: Option<Arc<Found>>,
    /// What a look that failed had found of it: the next one goes on from there.
    partly: Option<Partly>,
    /// Since when Vault has refused something.
    refused: Option<Timestamp>,
    /// Since when Vault has failed at something.
    failing: Option<Timestamp>,
    /// How many secrets were not tried since others before them failed: they are first the next time.
    passed_over: usize,
    /// What is gone already.
    pub gone: Gone,
}

/// What a look that failed had found of secrets.
#[derive(Clone, Debug)]
struct Partly {
    /// When it began. It is good for as long as a whole one.
    began: Instant,
    /// What asked for it, as in [`Found`].
    requested: Option<String>,
    look: Look,
}

/// Looks into Vault, changes it, and remembers what it saw.
#[derive(Debug)]
pub struct Keeper {
    vault: Arc<Vault>,
    settings: VaultSettings,
    /// The operator's own `ServiceAccount`: namespace and name.
    service_account: (String, String),
    /// By project and name; each with the UID that it is about.
    known: Mutex<HashMap<ObjectKey, (String, Known)>>,
    /// When KV engine and auth method were last found at their mounts.
    mounts_seen: Mutex<Option<Instant>>,
    /// The names of the logins with which secrets are copied at this moment.
    copying: Arc<Mutex<BTreeSet<String>>>,
    turns: Arc<Turns>,
    /// For how long one environment is at Vault at a time: others want to go there too, and its reconcile is given up at some time.
    patience: Duration,
    trigger: Trigger,
}

impl Keeper {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(
        vault: Arc<Vault>,
        settings: VaultSettings,
        service_account: (String, String),
        trigger: Trigger,
        limits: Limits,
    ) -> Self {
        Self {
            vault,
            settings,
            service_account,
            known: Mutex::default(),
            mounts_seen: Mutex::default(),
            copying: Arc::default(),
            turns: Turns::new(limits.most_of_a_kind(), trigger.clone()),
            patience: limits.timeout / 3,
            trigger,
        }
    }

    /// One reconcile of this environment.
    pub fn visit(&self, key: &ObjectKey) -> Visit {
        Visit::new(&self.turns, key)
    }

    /// What is known of an environment.
    pub fn known(&self, key: &ObjectKey, uid: &str) -> Known {
        self.all_known().get(key).filter(|(of, _)| of == uid).map(|(_, known)| known.clone()).unwrap_or_default()
    }

    fn remember(&self, key: &ObjectKey, uid: &str, known: &Known) {
        self.all_known().insert(key.clone(), (uid.to_owned(), known.clone()));
    }

    fn copying(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_known(&self) -> MutexGuard<'_, HashMap<ObjectKey, (String, Known)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the environment's place, and says what is in the way of that.
    async fn look(
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
    fn in_time(&self, since: Instant) -> Result<(), VaultError> {
        if since.elapsed() > self.patience { Err(VaultError::Late(self.patience)) } else { Ok(()) }
    }

    async fn look_for_mounts(&self) -> Result<(), VaultError> {
        self.vault.look_for_kv(&self.settings.mount).await?;
        self.vault.look_for_kubernetes(&self.settings.auth_path).await?;
        *self.mounts_seen() = Some(Instant::now());
        Ok(())
    }

    fn mounts_seen(&self) -> MutexGuard<'_, Option<Instant>> {
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

    fn role_path(&self, name: &str) -> String {
        format!("auth/{}/role/{name}", self.settings.auth_path)
    }

    /// Makes changes one after the other, and says what is in the way of one of them. One secret that cannot be made keeps no other one
    /// from being made.
    async fn change(
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

    /// What failed before fails no more.
    fn all_is_well(&self, key: &ObjectKey, uid: &str, known: &mut Known) {
        let unread = known.found.as_ref().is_some_and(|found| found.trouble.is_some());
        let failed = known.failing.is_some() || known.refused.is_some();
        if failed && !unread {
            (known.failing, known.refused) = (None, None);
            self.remember(key, uid, known);
        }
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
    async fn remove_secrets(&self, prefix: &str, since: Instant) -> Result<(), VaultError> {
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

impl Known {
    /// Since when Vault has refused what it was asked for this environment, or failed at it.
    fn failing_since(&mut self, error: &VaultError) -> Timestamp {
        let since = if error.is_refusal() { &mut self.refused } else { &mut self.failing };
        *since.get_or_insert_with(Timestamp::now)
    }
}

/// All of these; beginning with those that were passed over, if they are so many that some are.
fn in_turn<T>(all: impl Iterator<Item = T> + Clone, count: usize, passed_over: usize) -> Vec<T> {
    let first = if count > MOST_FAILURES { passed_over % count } else { 0 };
    all.cycle().skip(first).take(count).collect()
}

impl EnvironmentController {
    pub(super) fn vault_view<'a>(
        &'a self,
        key: &ObjectKey,
        environment: &PlatformEnvironment,
        live: &'a Live,
    ) -> VaultView<'a> {
        let base = match base_of(key, environment) {
            Some(Thing::Environment(base)) => self.world.environments.valid(&base).map(|found| {
                let secrets = found.status.iter().flat_map(|status| &status.secrets);
                let shared = secrets.filter(|secret| secret.strategy == Some(SecretStrategy::Reference));
                BaseSecrets {
                    class: found.spec.class,
                    place: Place::of(&base.namespace, &base.name, found.metadata.uid.as_deref().unwrap_or_default()),
                    shared: shared.map(|secret| secret.name.clone()).collect(),
                }
            }),
            _ => None,
        };
        VaultView {
            found: live.vault.found.as_deref(),
            gone: live.vault.gone,
            trouble: live.trouble.as_ref(),
            in_line: live.in_line,
            base,
        }
    }

    /// `since`: when its turn there began.
    pub(super) async fn go_to_vault(
        &self,
        key: &ObjectKey,
        environment: &PlatformEnvironment,
        step: Step,
        since: Instant,
        live: &mut Live,
    ) {
        let Some(keeper) = &self.vault else { return };
        let (place, known) = (place(key, environment), &mut live.vault);
        live.trouble = match step {
            Step::LookIntoVault(query) => {
                keeper.look(key, &place, *query, look_requested(environment), since, known).await
            }
            Step::ChangeVault(changes) => keeper.change(key, &place, &changes, since, known).await,
            Step::Read(_) | Step::Act(_) | Step::Rest(_) => return,
        };
    }

    /// The reconcile ends. Without trouble, what failed before fails no more.
    pub(super) fn leave_vault(&self, key: &ObjectKey, live: &mut Live) {
        if let (Some(keeper), None) = (&self.vault, &live.trouble) {
            keeper.all_is_well(key, &live.uid, &mut live.vault);
        }
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        if let Some(keeper) = &self.vault {
            keeper.all_known().remove(key);
        }
    }

    /// Asks a Vault that is down whether it is back, and takes away what environments that are gone left. Runs for ever.
    pub async fn keep_vault(self: Arc<Self>) {
        let Some(keeper) = &self.vault else { return std::future::pending().await };
        let wake = |key, after| keeper.trigger.after(key, after);
        futures::join!(keeper.vault.watch(wake), self.sweep_now_and_then(keeper));
    }
}

/// Names that people gave their secrets may hold anything; a slash at the end of a folder's stays.
fn encoded(name: &str) -> String {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'/');
    utf8_percent_encode(name, PLAIN).to_string()
}

fn policy_path(name: &str) -> String {
    format!("sys/policies/acl/{}", encoded(name))
}

fn place(key: &ObjectKey, environment: &PlatformEnvironment) -> Place {
    Place::of(&key.namespace, &key.name, environment.metadata.uid.as_deref().unwrap_or_default())
}

#[cfg(test)]
pub mod tests;
