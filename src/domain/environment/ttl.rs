//! Temporary environments: when they end, and when to warn.

use jiff::{SignedDuration, Timestamp};

use crate::domain::duration;

/// The longest ttl, as in the schema: one year.
const MAX: SignedDuration = SignedDuration::from_hours(8760);
/// The shortest ttl, as in the schema.
const MIN: SignedDuration = SignedDuration::from_secs(10);
/// The longest time before the end at which people are warned.
const MAX_WARNING: SignedDuration = SignedDuration::from_hours(1);

/// The end of a temporary environment, and the moment from which it is said to be near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// From here on the environment is expiring.
    pub warn_at: Timestamp,
    /// Here it is deleted.
    pub at: Timestamp,
}

/// A ttl that is no duration or out of bounds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "spec.ttl {0:?} is out of bounds: give 10s to 8760h (one year) in hours, minutes and seconds, for example 72h or 1h30m"
)]
pub struct InvalidTtl(String);

/// When an environment with this ttl ends. The warning comes an hour before, or for short lives after three quarters.
pub fn expiry(created: Timestamp, ttl: &str) -> Result<Expiry, InvalidTtl> {
    let invalid = || InvalidTtl(ttl.to_owned());
    let duration = duration::parse(ttl).filter(|ttl| (MIN..=MAX).contains(ttl)).ok_or_else(invalid)?;
    let at = created.checked_add(duration).map_err(|_| invalid())?;
    let warn_at = at.checked_sub(MAX_WARNING.min(duration / 4)).map_err(|_| invalid())?;
    Ok(Expiry { warn_at, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_long_preview_is_warned_of_an_hour_before_its_end() {
        let expiry = expiry(at("2026-01-01T00:00:00Z"), "24h").unwrap();
        assert_eq!(expiry, Expiry { warn_at: at("2026-01-01T23:00:00Z"), at: at("2026-01-02T00:00:00Z") });
    }

    #[test]
    fn a_short_preview_is_warned_of_after_three_quarters() {
        let expiry = expiry(at("2026-01-01T00:00:00Z"), "20s").unwrap();
        assert_eq!(expiry.warn_at, at("2026-01-01T00:00:15Z"));
    }

    #[test]
    fn nonsense_is_refused_with_the_bounds() {
        let created = at("2026-01-01T00:00:00Z");
        for ttl in
            ["", "0s", "5", "9s", "-1h", "1d", "30m1h", "h", "2629800h", "99999999999999999999h", "1h 5m", "8760h1s"]
        {
            assert!(expiry(created, ttl).is_err(), "{ttl:?}");
        }
    }
}
