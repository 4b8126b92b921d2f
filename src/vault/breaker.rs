//! Keeps a thousand environments from asking a Vault that is down, and tells them when it is back.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{self, Instant},
};

use super::{Vault, VaultError};
use crate::kube_ext::key::ObjectKey;

/// How often a Vault that is down is asked: first, and at last.
const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// So many requests in a row that fail within [`MEMORY`] of each other are no matter of single paths any more.
const STREAK: u32 = 16;
/// A failure that is longer ago than this is forgotten: one environment that is tried again and again is not all of them.
const MEMORY: Duration = Duration::from_secs(5);
/// Over how long those who waited come back.
const SPREAD: Duration = Duration::from_secs(10);
/// What the first one who comes back gets before the others follow.
const TRIAL: Duration = Duration::from_secs(1);

/// What became of one who wants to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// They are told.
    Registered,
    /// It is back already.
    IsBack,
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
    /// One at a time finds out whether it is Vault as a whole.
    suspicion: tokio::sync::Mutex<Option<Instant>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Why nobody is asked; `None` while all is well.
    open: Option<Open>,
    failures: u32,
    failed: Option<Instant>,
    waiting: BTreeSet<ObjectKey>,
}

/// Why nobody is asked.
#[derive(Clone, Debug)]
struct Open {
    down: VaultError,
    /// It seems well and does nothing: it has to do what all need before it is asked again.
    thoroughly: bool,
}

impl Breaker {
    /// Whether Vault may be asked.
    pub fn allows(&self) -> Result<(), VaultError> {
        self.open_with().map_or(Ok(()), |open| Err(open.down))
    }

    pub fn succeeded(&self) {
        self.state().failures = 0;
    }

    /// A request failed. An error says that Vault as a whole is down, and that nobody is asked from now on. If Vault is well all the same,
    /// and after many failures in a row does what all need, they are matters of single paths.
    pub async fn failed(&self, error: &VaultError, why: String, vault: &Vault) -> Result<(), VaultError> {
        let streak = {
            let mut state = self.state();
            let recent = state.failed.is_some_and(|failed| failed.elapsed() < MEMORY);
            state.failures = if recent { state.failures.saturating_add(1) } else { 1 };
            state.failed = Some(Instant::now());
            state.failures >= STREAK
        };
        if (streak || error.may_be_all()) && !self.is_well_after_all(vault, streak).await {
            let down = VaultError::Down { why, refused: error.is_refusal() };
            self.open(Open { down: down.clone(), thoroughly: streak });
            return Err(down);
        }
        Ok(())
    }

    /// Asks once a second at most, one for all.
    async fn is_well_after_all(&self, vault: &Vault, thoroughly: bool) -> bool {
        let mut suspicion = self.suspicion.lock().await;
        if self.state().open.is_some() {
            return false;
        }
        if suspicion.is_some_and(|asked| asked.elapsed() < PROBE.0) {
            return true;
        }
        let is_well = vault.is_well(thoroughly).await;
        // After the answer, so that those who waited for a slow one have it too.
        *suspicion = Some(Instant::now());
        is_well
    }

    fn open(&self, open: Open) {
        let mut state = self.state();
        if state.open.is_none() {
            tracing::warn!("{}; it is asked now and then until it is back", open.down);
            state.open = Some(open);
            drop(state);
            self.changed.notify_one();
        }
    }

    pub fn wait(&self, key: ObjectKey) -> Waiting {
        let mut state = self.state();
        if state.open.is_none() {
            return Waiting::IsBack;
        }
        state.waiting.insert(key);
        Waiting::Registered
    }

    /// Asks a Vault that nobody asks whether it is well again, and tells those who wait.
    pub async fn watch(&self, vault: &Vault, wake: impl Fn(ObjectKey, Duration)) {
        loop {
            self.changed.notified().await;
            let mut pause = PROBE.0;
            while let Some(open) = self.open_with() {
                time::sleep(pause).await;
                pause = (pause * 2).min(PROBE.1);
                if vault.is_well(open.thoroughly).await {
                    self.try_one(&wake).await;
                }
            }
            let waiting: Vec<ObjectKey> = std::mem::take(&mut self.state().waiting).into_iter().collect();
            if !waiting.is_empty() {
                tracing::info!(waiting = waiting.len(), "Vault is asked by all again");
            }
            let count = u32::try_from(waiting.len()).unwrap_or(u32::MAX).max(1);
            for (at, key) in (0_u32..).zip(waiting) {
                wake(key, SPREAD * at / count.max(100));
            }
        }
    }

    fn open_with(&self) -> Option<Open> {
        self.state().open.clone()
    }

    /// Lets one of those who wait try. If Vault does not answer it, Vault is down as before.
    async fn try_one(&self, wake: &impl Fn(ObjectKey, Duration)) {
        let first = {
            let mut state = self.state();
            state.open = None;
            // It may be refused for reasons of its own: that keeps nobody else away.
            state.failures = 0;
            state.waiting.pop_first()
        };
        if let Some(first) = first {
            wake(first, Duration::ZERO);
            time::sleep(TRIAL).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
