//! What the operator knows of environments' places in Vault, and how it looks and changes something there.
//!
//! What goes wrong here stops nothing else: it becomes a [`Trouble`](crate::domain::vault::Trouble) that the plan reports.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{EnvironmentController, Live, Thing, base_of};
use crate::{
    api::{PlatformEnvironment, SecretStrategy},
    controller::run_loop::{Limits, Trigger},
    domain::{
        environment::{plan::Step, secrets::look_requested, snapshot::VaultView},
        vault::{Found, Gone, Look, Place, VaultSettings, secrets::BaseSecrets},
    },
    kube_ext::key::ObjectKey,
    vault::{Vault, VaultError},
};

mod changes;
mod looks;
mod sweep;
mod trouble;
mod turns;

use turns::Turns;
pub use turns::Visit;

/// How many secrets of one environment are looked at, generated or removed at once.
const AT_A_TIME: usize = 4;
/// After so many of an environment's secrets could not be looked at or made, no others are tried: it is a right that is missing.
const MOST_FAILURES: usize = 8;

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

    fn role_path(&self, name: &str) -> String {
        format!("auth/{}/role/{name}", self.settings.auth_path)
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
