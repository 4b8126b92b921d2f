//! What goes wrong in Vault, and when it is tried again.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::condition::Reason;

/// The shortest and the longest time until what fails in Vault is tried again: half as long after the last time as it has lasted.
const PASSING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// The same for what Vault refuses, which only a person can mend.
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// What went wrong in Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Vault as a whole does not answer. It is asked now and then by one for all, and everybody is told when it is back.
    pub down: bool,
    /// Vault refuses; only a person can mend it.
    pub refused: bool,
    /// A sentence for people, with the remedy. The same trouble has the same one.
    pub message: String,
    /// Since when it has lasted for this environment.
    pub since: Timestamp,
}

impl Trouble {
    /// One word for it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        if self.refused { Reason::VaultRefused } else { Reason::VaultUnavailable }
    }

    /// Whether it may be over any moment.
    #[must_use]
    pub fn passes(&self) -> bool {
        !self.down && !self.refused
    }

    /// When it is tried again at the latest: ever more rarely. `None` if somebody tells when it is over.
    #[must_use]
    pub fn again(&self, now: Timestamp) -> Option<Timestamp> {
        let lasted = Duration::try_from(now.duration_since(self.since)).unwrap_or_default();
        let (shortest, longest) = if self.refused { REFUSED } else { PASSING };
        let pause = (lasted / 2).clamp(shortest, longest);
        (!self.down).then(|| now.checked_add(pause).unwrap_or(Timestamp::MAX))
    }
}
