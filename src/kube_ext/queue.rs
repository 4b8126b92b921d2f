//! The queue of objects to reconcile: what client-go's workqueue does, and fair between projects.
//!
//! A key is in one of four places, and every operation moves it along one arrow:
//!
//! ```text
//!            add                    pop                      done
//!  absent ─────────▶ ready ─────────────────▶ in flight ─────────────▶ absent
//!    │                 ▲  ▲                       │
//!    │ add_at          │  └── done, if added ─────┤
//!    ▼                 │      meanwhile           │ done, if added for later
//!  waiting ────────────┘                          ▼
//!             time, or add                     waiting
//! ```
//!
//! So a key is queued at most once, is never handed out twice at the same time, and no add is lost.
//!
//! **Fairness.** Ready keys stand in one line per tenant (here: the project, which is the namespace), and tenants take
//! turns. A project with 5,000 ready environments delays another one's single environment by one key. A limit on what
//! one tenant may have in flight keeps a project whose reconciles all hang (its Vault is down, say) from holding every
//! slot of the run loop.
//!
//! Pure and synchronous: the time is an argument. The run loop puts it behind a lock and wakes itself.

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(test)]
mod tests;

/// See the [module documentation](self).
#[derive(Debug)]
pub struct WorkQueue<K> {
    tenant_of: fn(&K) -> &str,
    /// How many keys of one tenant may be in flight.
    tenant_limit: usize,
    places: HashMap<K, Place>,
    /// The waiting keys, by deadline.
    deadlines: BTreeSet<(Instant, K)>,
    tenants: HashMap<Arc<str>, Tenant<K>>,
    /// Tenants that may be served now: they have a ready key and are below the limit. Each at most once.
    rotation: VecDeque<Arc<str>>,
    ready: usize,
    in_flight: usize,
}

/// Where a key is. A key that is not in the map is idle.
#[derive(Clone, Copy, Debug)]
enum Place {
    Ready,
    Waiting(Instant),
    InFlight(Again),
}

/// What happens to a key in flight once it is done.
#[derive(Clone, Copy, Debug)]
enum Again {
    No,
    Now,
    At(Instant),
}

#[derive(Debug)]
struct Tenant<K> {
    /// In order of arrival, each with the time since when it could have been handed out.
    ready: VecDeque<(K, Instant)>,
    in_flight: usize,
    in_rotation: bool,
}

impl<K: Clone + Eq + Hash + Ord> WorkQueue<K> {
    /// An empty queue. `tenant_of` says who a key belongs to; of one tenant at most `tenant_limit` keys (at least
    /// one) are in flight at a time.
    pub fn new(tenant_of: fn(&K) -> &str, tenant_limit: usize) -> Self {
        Self {
            tenant_of,
            tenant_limit: tenant_limit.max(1),
            places: HashMap::new(),
            deadlines: BTreeSet::new(),
            tenants: HashMap::new(),
            rotation: VecDeque::new(),
            ready: 0,
            in_flight: 0,
        }
    }

    /// Wants the key handed out as soon as possible. Overrides a wait: what made it wait is decided anew by the run
    /// that follows.
    pub fn add(&mut self, key: K, now: Instant) {
        match self.places.get_mut(&key) {
            Some(Place::Ready) => return,
            Some(Place::InFlight(again)) => {
                *again = Again::Now;
                return;
            }
            Some(Place::Waiting(deadline)) => {
                let deadline = *deadline;
                self.deadlines.remove(&(deadline, key.clone()));
            }
            None => {}
        }
        self.make_ready(key, now);
    }

    /// Wants the key handed out at `deadline`, or earlier if it is already wanted earlier.
    pub fn add_at(&mut self, key: K, deadline: Instant) {
        match self.places.get_mut(&key) {
            None => self.make_wait(key, deadline),
            Some(Place::Ready | Place::InFlight(Again::Now)) => {}
            Some(Place::InFlight(again @ Again::No)) => *again = Again::At(deadline),
            Some(Place::InFlight(Again::At(earlier))) => *earlier = deadline.min(*earlier),
            Some(Place::Waiting(earlier)) => {
                let earlier = *earlier;
                if deadline < earlier {
                    self.deadlines.remove(&(earlier, key.clone()));
                    self.make_wait(key, deadline);
                }
            }
        }
    }

    /// Hands out the next key whose turn it is. The caller says [`done`](Self::done) when it is through with it.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        self.wake_due(now);
        let name = self.rotation.pop_front()?;
        let tenant = self.tenants.get_mut(&name)?;
        let (key, _) = tenant.ready.pop_front()?;
        tenant.in_flight += 1;
        tenant.in_rotation = false;
        self.ready -= 1;
        self.in_flight += 1;
        self.places.insert(key.clone(), Place::InFlight(Again::No));
        self.settle(&name);
        Some(key)
    }

    /// Takes back a key that was handed out. Any other key is ignored.
    pub fn done(&mut self, key: &K, now: Instant) {
        let Some(Place::InFlight(again)) = self.places.get(key) else { return };
        let again = *again;
        self.places.remove(key);
        self.in_flight -= 1;
        let name = (self.tenant_of)(key);
        if let Some(tenant) = self.tenants.get_mut(name) {
            tenant.in_flight -= 1;
        }
        match again {
            Again::No => {}
            Again::Now => self.make_ready(key.clone(), now),
            Again::At(deadline) => self.make_wait(key.clone(), deadline),
        }
        if let Some((name, _)) = self.tenants.get_key_value(name) {
            let name = name.clone();
            self.settle(&name);
        }
    }

    /// How many keys could be handed out now, if there were room.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready
    }

    /// Whether no key is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready == 0
    }

    /// How many keys wait for their deadline.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.deadlines.len()
    }

    /// How many keys are handed out and not done.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When the next waiting key becomes ready.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// For how long the key that is ready for longest has been. Looks at each tenant: for metrics, not for a hot path.
    #[must_use]
    pub fn oldest_ready(&self, now: Instant) -> Option<Duration> {
        let since = self.tenants.values().filter_map(|tenant| tenant.ready.front()).map(|(_, since)| *since).min()?;
        Some(now.saturating_duration_since(since))
    }

    fn wake_due(&mut self, now: Instant) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now)
            && let Some((deadline, key)) = self.deadlines.pop_first()
        {
            self.make_ready(key, deadline);
        }
    }

    fn make_ready(&mut self, key: K, since: Instant) {
        let name: Arc<str> = self.tenant_name(&key);
        self.places.insert(key.clone(), Place::Ready);
        self.ready += 1;
        let tenant = match self.tenants.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Tenant::new()),
        };
        tenant.ready.push_back((key, since));
        self.settle(&name);
    }

    fn make_wait(&mut self, key: K, deadline: Instant) {
        self.places.insert(key.clone(), Place::Waiting(deadline));
        self.deadlines.insert((deadline, key));
    }

    fn tenant_name(&self, key: &K) -> Arc<str> {
        let name = (self.tenant_of)(key);
        self.tenants.get_key_value(name).map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    /// Brings a tenant's place in the rotation in line with its state, and drops a tenant that has nothing.
    fn settle(&mut self, name: &Arc<str>) {
        let Some(tenant) = self.tenants.get_mut(name) else { return };
        if tenant.ready.is_empty() && tenant.in_flight == 0 {
            self.tenants.remove(name);
        } else if !tenant.ready.is_empty() && tenant.in_flight < self.tenant_limit && !tenant.in_rotation {
            tenant.in_rotation = true;
            self.rotation.push_back(name.clone());
        }
    }
}

impl<K> Tenant<K> {
    fn new() -> Self {
        Self { ready: VecDeque::new(), in_flight: 0, in_rotation: false }
    }
}
