//! Which of two versions is newer: as semver says (<https://semver.org/#spec-item-11>), a leading v left aside.

use semver::Version;

/// The version that a `PlatformVersion`'s name says; `None` if it says none, which the schema does not let in.
#[must_use]
pub fn parse(name: &str) -> Option<Version> {
    Version::parse(name.strip_prefix('v').unwrap_or(name)).ok()
}

/// Whether one version is older than another one. What is no version is older than none and newer than none.
#[must_use]
pub fn is_older(one: &str, other: &str) -> bool {
    parse(one).zip(parse(other)).is_some_and(|(one, other)| one < other)
}

/// Whether one can say which of the two is newer.
#[must_use]
pub fn comparable(one: &str, other: &str) -> bool {
    parse(one).is_some() && parse(other).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_and_not_by_letter() {
        assert!(is_older("v2.9.0", "v2.10.0"));
        assert!(is_older("v2.3.1-rc.1", "v2.3.1"), "a pre-release comes before its release");
        assert!(!is_older("v2.3.1", "2.3.1"), "the v does not count");
    }
}
