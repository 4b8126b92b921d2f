//! How long to wait before trying again what failed.
//!
//! [`Schedule`] is the curve: a fast first retry, because most failures are a conflict or a blip; then doubling from
//! the base to the cap. Jitter takes up to a fifth off each delay, so that what failed together does not come back
//! together. [`Backoff`] remembers per key where on the curve it is. Both are pure; jitter is a hash, not a dice.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Delays by the number of failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// After the first failure.
    pub first: Duration,
    /// After the second failure; doubles with each further one.
    pub base: Duration,
    /// Never longer than this.
    pub cap: Duration,
}

impl Schedule {
    /// For reconciles: 200 ms, then 1 s, 2 s, … 5 min.
    pub const RECONCILE: Self =
        Self { first: Duration::from_millis(200), base: Duration::from_secs(1), cap: Duration::from_mins(5) };

    /// For watches: 200 ms, then 500 ms, 1 s, … 10 s. Without its watch a controller is blind, and an attempt is cheap.
    pub const WATCH: Self =
        Self { first: Duration::from_millis(200), base: Duration::from_millis(500), cap: Duration::from_secs(10) };

    /// The delay after this many failures in a row (the first is 1). `jitter` is any number; the same one gives the
    /// same delay.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: u64) -> Duration {
        let full = match failures {
            0 => return Duration::ZERO,
            1 => self.first,
            // Beyond 2^31 the cap is long reached.
            more => self.base.saturating_mul(1 << (more - 2).min(31)),
        };
        let full = full.min(self.cap);
        let thousandths = u32::try_from(1000 - jitter % 200).unwrap_or(1000);
        full * thousandths / 1000
    }
}

/// Failures in a row by key, for keys that fail at present.
#[derive(Debug)]
pub struct Backoff<K> {
    schedule: Schedule,
    /// Makes the jitter of two processes differ.
    seed: u64,
    failing: HashMap<K, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    in_a_row: u32,
    generation: Option<i64>,
}

impl<K: Clone + Eq + Hash> Backoff<K> {
    /// Nothing fails yet.
    #[must_use]
    pub fn new(schedule: Schedule, seed: u64) -> Self {
        Self { schedule, seed, failing: HashMap::new() }
    }

    /// Counts a failure and says how long to wait. A generation other than at the last failure starts anew: somebody
    /// changed the object, perhaps to mend it.
    pub fn failed(&mut self, key: &K, generation: Option<i64>) -> Duration {
        let failures = self.failing.entry(key.clone()).or_insert(Failures { in_a_row: 0, generation });
        if failures.generation != generation {
            *failures = Failures { in_a_row: 0, generation };
        }
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        let in_a_row = failures.in_a_row;
        self.schedule.delay(in_a_row, self.jitter(key, in_a_row))
    }

    /// Forgets the key's failures: it succeeded, or it is gone, or it will not be retried.
    pub fn forget(&mut self, key: &K) {
        self.failing.remove(key);
    }

    /// How many keys fail at present.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.failing.len()
    }

    fn jitter(&self, key: &K, failures: u32) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.seed, key, failures).hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_JITTER: u64 = 0;

    #[test]
    fn the_first_retry_is_fast_and_the_delay_then_doubles_up_to_the_cap() {
        let delays: Vec<_> = (0..=12).map(|failures| Schedule::RECONCILE.delay(failures, NO_JITTER)).collect();
        let seconds = |s: u64| Duration::from_secs(s);
        assert_eq!(
            delays[..6],
            [seconds(0), Duration::from_millis(200), seconds(1), seconds(2), seconds(4), seconds(8)]
        );
        assert_eq!(delays[12], seconds(300));
    }

    #[test]
    fn failures_in_a_row_are_counted_per_key() {
        let mut backoff = Backoff::new(Schedule::RECONCILE, 7);
        for _ in 0..5 {
            backoff.failed(&"a", Some(1));
        }
        assert!(backoff.failed(&"a", Some(1)) > Duration::from_secs(10));
        assert!(backoff.failed(&"b", Some(1)) <= Duration::from_millis(200));
        assert_eq!(backoff.failing(), 2);
    }

    #[test]
    fn success_and_a_new_generation_start_anew() {
        let mut backoff = Backoff::new(Schedule::RECONCILE, 7);
        for _ in 0..5 {
            backoff.failed(&"a", Some(1));
        }
        assert!(backoff.failed(&"a", Some(2)) <= Duration::from_millis(200));
        backoff.failed(&"a", Some(2));
        backoff.forget(&"a");
        assert_eq!(backoff.failing(), 0);
        assert!(backoff.failed(&"a", Some(2)) <= Duration::from_millis(200));
    }

    proptest! {
        #[test]
        fn a_delay_is_within_a_fifth_of_the_curve_and_never_above_the_cap(failures in 1_u32.., jitter: u64) {
            let schedule = Schedule::RECONCILE;
            let full = schedule.delay(failures, NO_JITTER);
            let delay = schedule.delay(failures, jitter);
            prop_assert!(delay <= full && delay >= full * 4 / 5 && full <= schedule.cap);
        }
    }
}
