//! What the operator knows of environments' places in Vault, and how it looks and changes something there.
//!
//! What goes wrong here stops nothing else: it becomes a [`Trouble`] that the plan reports.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{EnvironmentController, Live, Thing, base_of};
use crate::{
    api::{Digest, PlatformEnvironment, SecretStrategy},
    controller::run_loop::Trigger,
    domain::{
        environment::{
            plan::{Action, Query},
            secrets::look_requested,
            snapshot::VaultView,
        },
        vault::{Change, CopyLogin, Found, Gone, Place, VaultSettings, role_digest, secrets::BaseSecrets},
    },
    kube_ext::key::ObjectKey,
    vault::{Vault, VaultError, value::SecretJson},
};

mod sweep;
mod trouble;

/// How many secrets of one environment are looked at or removed at once.
const AT_A_TIME: usize = 4;
/// For how long what a look that failed had found is good.
const PARTLY: Duration = Duration::from_mins(1);
/// Deeper than any path that a variable may name.
const DEEPEST: usize = 130;

/// What is known of one environment's place.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What was found, when it was last looked at.
    pub found: Option<Arc<Found>>,
    /// What a look that failed had found of it, and when it began: the next one goes on from there.
    partly: Option<Partly>,
    /// Since when Vault has not done what it was asked.
    failing: Option<Timestamp>,
    /// What is gone already.
    pub gone: Gone,
}

/// What a look that failed had found of secrets.
#[derive(Clone, Debug)]
struct Partly {
    began: Instant,
    /// What asked for it, as in [`Found`].
    requested: Option<String>,
    /// As in [`Found`].
    secrets: BTreeMap<String, Option<BTreeSet<String>>>,
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
    /// Whether KV engine and auth method were found at their mounts.
    mounts_seen: AtomicBool,
    /// The names of the logins with which secrets are copied at this moment.
    copying: Mutex<BTreeSet<String>>,
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
    ) -> Self {
        Self {
            vault,
            settings,
            service_account,
            known: Mutex::default(),
            mounts_seen: AtomicBool::new(false),
            copying: Mutex::default(),
            trigger,
        }
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

    async fn look(
        &self,
        place: &Place,
        query: Query,
        before: Option<&Found>,
        partly: &mut Option<Partly>,
        asked: Option<&str>,
    ) -> Result<Found, VaultError> {
        if !self.mounts_seen.load(Ordering::Relaxed) {
            self.vault.look_for_kv(&self.settings.mount).await?;
            self.vault.look_for_kubernetes(&self.settings.auth_path).await?;
            self.mounts_seen.store(true, Ordering::Relaxed);
        }
        let (policy, role) = match before.filter(|_| query.secrets_only) {
            Some(before) => (before.policy, before.role),
            None => self.access(place).await?,
        };
        let goes_on = |partly: &Partly| partly.began.elapsed() < PARTLY && partly.requested.as_deref() == asked;
        let mut looked = partly.take().filter(goes_on).unwrap_or_else(|| Partly {
            began: Instant::now(),
            requested: asked.map(str::to_owned),
            secrets: BTreeMap::new(),
        });
        let paths: Vec<_> = query.paths.into_iter().filter(|path| !looked.secrets.contains_key(path)).collect();
        let mut looks = stream::iter(paths)
            .map(|path| async move { self.vault.subkeys(&self.settings.mount, &path).await.map(|keys| (path, keys)) })
            .buffer_unordered(AT_A_TIME);
        while let Some(look) = looks.next().await {
            match look {
                Ok((path, keys)) => drop(looked.secrets.insert(path, keys)),
                Err(error) => {
                    *partly = Some(looked);
                    return Err(error);
                }
            }
        }
        drop(looks);
        let mut secrets =
            before.filter(|_| query.secrets_only).map(|before| before.secrets.clone()).unwrap_or_default();
        secrets.extend(looked.secrets);
        // What was looked at slowly is not old already.
        let now = Timestamp::now();
        let at = before.filter(|_| query.secrets_only).map_or(now, |before| before.at);
        let (config, references, requested) = (query.config, query.references, asked.map(str::to_owned));
        Ok(Found { at, looked: now, requested, config, references, policy, role, secrets })
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

    async fn change(&self, place: &Place, change: &Change, known: &mut Known) -> Result<(), VaultError> {
        let name = place.role();
        let found = known.found.as_deref().cloned();
        match change {
            Change::Policy { text, expires } => {
                let mut body = json!({"policy": text});
                if let Some(expires) = expires {
                    body["expiration"] = json!(expires.to_string());
                }
                self.vault.write(&policy_path(&name), &body).await?;
                known.found = found.map(|found| Arc::new(Found { policy: Some(Digest::of(text.as_bytes())), ..found }));
            }
            Change::Role(role) => {
                self.vault.write(&self.role_path(&name), role).await?;
                known.found = found.map(|found| Arc::new(Found { role: Some(role_digest(role, role)), ..found }));
            }
            Change::Make { path, generate, copy, from } => {
                self.make(place, path, generate, copy, from.as_deref()).await?;
                // Somebody may have been faster. What is there now is what counts.
                let keys = self.vault.subkeys(&self.settings.mount, path).await?;
                known.found = found.map(|mut found| {
                    found.secrets.insert(path.clone(), keys);
                    Arc::new(found)
                });
            }
            Change::RemoveRole => {
                // What a copy that failed may have left.
                let copy = CopyLogin::name(place);
                if self.settings.allow_copy {
                    self.vault.delete(&self.role_path(&copy)).await?;
                    self.vault.delete(&policy_path(&copy)).await?;
                }
                self.vault.delete(&self.role_path(&name)).await?;
                known.gone.role = true;
            }
            Change::RemovePolicy => {
                self.vault.delete(&policy_path(&name)).await?;
                known.gone.policy = true;
            }
            Change::RemoveSecrets => {
                // A mount that is not there has nothing in it, which is not to say that nothing is left.
                self.vault.look_for_kv(&self.settings.mount).await?;
                self.remove_secrets(&place.prefix()).await?;
                known.gone.secrets = true;
            }
        }
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
        let mut values: Vec<(String, SecretJson)> = vec![];
        for key in generate {
            let new = self.vault.generate(&self.settings.password_policy).await?;
            values.push((key.clone(), SecretJson::text(&new)));
        }
        if let Some(from) = from.filter(|_| !copy.is_empty()) {
            let operator = (self.service_account.0.as_str(), self.service_account.1.as_str());
            let login = CopyLogin::new(&self.settings, place, from, operator);
            let _copying = Copying::begin(self, &login.name);
            values.extend(self.vault.values(&self.settings, &login, from, copy).await?);
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

    /// All versions of all secrets below a prefix.
    async fn remove_secrets(&self, prefix: &str) -> Result<(), VaultError> {
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
                        async move { self.vault.delete(&path).await }
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
struct Copying<'a>(&'a Keeper, &'a str);

impl<'a> Copying<'a> {
    fn begin(keeper: &'a Keeper, login: &'a str) -> Self {
        keeper.copying().insert(login.to_owned());
        Self(keeper, login)
    }
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        self.0.copying().remove(self.1);
    }
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
        VaultView { found: live.vault.found.as_deref(), gone: live.vault.gone, trouble: live.trouble.as_ref(), base }
    }

    pub(super) async fn look_into_vault(
        &self,
        key: &ObjectKey,
        environment: &PlatformEnvironment,
        query: Query,
        live: &mut Live,
    ) {
        let Some(keeper) = &self.vault else { return };
        let place = place(key, environment);
        let Known { found, partly, failing, .. } = &mut live.vault;
        match keeper.look(&place, query, found.as_deref(), partly, look_requested(environment)).await {
            Ok(new) => (*found, *failing) = (Some(Arc::new(new)), None),
            Err(error) => {
                let since = *failing.get_or_insert_with(Timestamp::now);
                live.trouble = Some(keeper.trouble(key, "look at the environment's place", &error, since));
            }
        }
        keeper.remember(key, &place.uid, &live.vault);
    }

    pub(super) async fn change_vault(
        &self,
        key: &ObjectKey,
        environment: &PlatformEnvironment,
        actions: &[Action],
        live: &mut Live,
    ) {
        let Some(keeper) = &self.vault else { return };
        let place = place(key, environment);
        for action in actions {
            let Action::Vault(change) = action else { continue };
            let Err(error) = keeper.change(&place, change, &mut live.vault).await else { continue };
            let since = *live.vault.failing.get_or_insert_with(Timestamp::now);
            let trouble = keeper.trouble(key, &change.to_string(), &error, since);
            let only_here = trouble.refused && !trouble.down;
            live.trouble.get_or_insert(trouble);
            // One secret that cannot be made keeps no other one from being made.
            if !only_here {
                break;
            }
        }
        if live.trouble.is_none() {
            live.vault.failing = None;
        }
        keeper.remember(key, &place.uid, &live.vault);
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
