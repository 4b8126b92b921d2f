//! Durations as Go writes them, of hours, minutes and seconds: 72h, 1h30m.

use jiff::SignedDuration;

/// The duration that a text says; `None` if it says none. The units stand in their order, each at most once.
#[must_use]
pub fn parse(text: &str) -> Option<SignedDuration> {
    let mut seconds: i64 = 0;
    let mut rest = text;
    for (unit, factor) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            seconds = number.parse::<i64>().ok()?.checked_mul(factor)?.checked_add(seconds)?;
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then(|| SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_and_seconds_add_up() {
        assert_eq!(parse("1h30m5s"), Some(SignedDuration::from_secs(5405)));
        assert_eq!(parse("0s"), Some(SignedDuration::ZERO));
    }

    #[test]
    fn nonsense_is_no_duration() {
        for text in ["", "5", "-1h", "1d", "30m1h", "h", "99999999999999999999h", "1h 5m"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
