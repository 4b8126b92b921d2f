//! Validations: which results of a version count.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api::{
    Digest,
    version::{ValidationOutcome, ValidationResult},
};

/// What the results say about one validation of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// There is no result of that name.
    Missing,
    /// There is one, for another content.
    OtherDigest(&'a ValidationResult),
    /// There is one, and its time is over.
    Expired(&'a ValidationResult, Timestamp),
    /// It is under way.
    Running(&'a ValidationResult),
    /// It passed.
    Passed(&'a ValidationResult),
    /// It failed.
    Failed(&'a ValidationResult),
}

/// What the results say about one validation of the version with this digest, at this moment.
#[must_use]
pub fn verdict<'a>(results: &'a [ValidationResult], name: &str, digest: &Digest, now: Timestamp) -> Verdict<'a> {
    let Some(result) = results.iter().find(|result| result.name == name) else { return Verdict::Missing };
    if result.digest != *digest {
        return Verdict::OtherDigest(result);
    }
    if let Some(expired) = result.expires_at.filter(|expires| *expires <= now) {
        return Verdict::Expired(result, expired);
    }
    match result.result {
        ValidationOutcome::Running => Verdict::Running(result),
        ValidationOutcome::Passed => Verdict::Passed(result),
        ValidationOutcome::Failed => Verdict::Failed(result),
    }
}

/// Those of the demanded validations that have not passed, by name.
#[must_use]
pub fn not_passed<'a>(
    demanded: &'a BTreeSet<String>,
    results: &[ValidationResult],
    digest: &Digest,
    now: Timestamp,
) -> Vec<&'a str> {
    let passed = |name: &&String| matches!(verdict(results, name, digest, now), Verdict::Passed(_));
    demanded.iter().filter(|name| !passed(name)).map(String::as_str).collect()
}

/// When the next of these results expires.
#[must_use]
pub fn next_expiry(results: &[ValidationResult], now: Timestamp) -> Option<Timestamp> {
    results.iter().filter_map(|result| result.expires_at).filter(|expires| *expires > now).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(outcome: ValidationOutcome, digest: &Digest, expires: Option<i64>) -> ValidationResult {
        ValidationResult {
            name: "e2e".to_owned(),
            result: outcome,
            digest: *digest,
            reporter: "ci".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            expires_at: expires.map(|second| Timestamp::from_second(second).unwrap()),
            link: None,
            message: None,
        }
    }

    #[test]
    fn a_result_counts_for_its_own_digest_and_until_it_expires() {
        let (digest, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let at = |second| Timestamp::from_second(second).unwrap();
        let results = [result(ValidationOutcome::Passed, &digest, Some(10))];
        assert!(matches!(verdict(&results, "e2e", &digest, at(9)), Verdict::Passed(_)));
        assert!(matches!(verdict(&results, "e2e", &digest, at(10)), Verdict::Expired(..)));
        assert!(matches!(verdict(&results, "e2e", &other, at(9)), Verdict::OtherDigest(_)));
        assert_eq!(verdict(&results, "schema", &digest, at(9)), Verdict::Missing);
        assert_eq!(next_expiry(&results, at(9)), Some(at(10)));
        assert_eq!(next_expiry(&results, at(10)), None);
    }

    #[test]
    fn what_is_demanded_and_has_not_passed_is_named() {
        let digest = Digest::of(b"one");
        let demanded = ["e2e".to_owned(), "schema".to_owned()].into();
        let failed = [result(ValidationOutcome::Failed, &digest, None)];
        assert_eq!(not_passed(&demanded, &failed, &digest, Timestamp::UNIX_EPOCH), ["e2e", "schema"]);
        let passed = [result(ValidationOutcome::Passed, &digest, None)];
        assert_eq!(not_passed(&demanded, &passed, &digest, Timestamp::UNIX_EPOCH), ["schema"]);
    }
}
