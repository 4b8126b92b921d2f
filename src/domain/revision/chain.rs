//! The chain of digests that makes an edit, a deletion or a reordering of history evident.

use serde_json::Value;

use crate::{
    api::{Digest, EnvironmentRevisionSpec, RevisionNumber},
    domain::canonical,
};

/// What is wrong with a history.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The record does not have the digest that it names.
    #[error("revision {0} was edited: its digest does not fit its content")]
    Edited(RevisionNumber),
    /// The record has no number.
    #[error("a revision has no number")]
    Unreadable,
    /// A record is missing.
    #[error("revision {0} is missing")]
    Missing(RevisionNumber),
    /// The record does not follow the one before.
    #[error("revision {0} does not follow the one before: the digest that it names as previous is another one")]
    Unchained(RevisionNumber),
}

/// The record with its own digest put in.
#[must_use]
pub fn sealed(mut record: EnvironmentRevisionSpec) -> EnvironmentRevisionSpec {
    record.digest = digest(&record);
    record
}

/// Whether the record has the digest that it names.
#[must_use]
pub fn is_sealed(record: &EnvironmentRevisionSpec) -> bool {
    record.digest == digest(record)
}

/// The digest of all fields but the digest itself.
fn digest(record: &EnvironmentRevisionSpec) -> Digest {
    digest_of(&serde_json::to_value(record).unwrap_or_default())
}

fn digest_of(stored: &Value) -> Digest {
    let mut fields = stored.clone();
    if let Value::Object(fields) = &mut fields {
        fields.remove("digest");
    }
    canonical::digest(&fields)
}

/// Checks a history as it is stored: the `spec` of each kept revision, in any order but for that of their numbers.
///
/// It looks at the stored JSON, not at what this program knows of it: a record with fields of a later version of this
/// program is whole too.
pub fn verify(stored: &[Value]) -> Result<(), Broken> {
    let mut links: Vec<Link> = stored.iter().map(Link::of).collect::<Result<_, _>>()?;
    links.sort_by_key(|link| link.number);
    let Some(newest) = links.last() else { return Ok(()) };
    // From here on nothing may be missing. What is kept of older ones is kept for a reason, with gaps in between.
    let complete_from = newest.retained_from;
    let first_complete = links.iter().map(|link| link.number).find(|number| *number >= complete_from);
    if first_complete.is_some_and(|first| first != complete_from) {
        return Err(Broken::Missing(complete_from));
    }
    for pair in links.windows(2) {
        let [before, link] = pair else { continue };
        let follows = link.number == before.number.next();
        if before.number == link.number || (follows && link.previous != Some(before.digest)) {
            return Err(Broken::Unchained(link.number));
        }
        if !follows && link.number > complete_from {
            return Err(Broken::Missing(before.number.next()));
        }
    }
    match links.iter().find(|link| (link.number == RevisionNumber::FIRST) != link.previous.is_none()) {
        Some(link) => Err(Broken::Unchained(link.number)),
        None => Ok(()),
    }
}

/// Checks that the newest record is the one that the environment says it has: that it is missing, no other record tells.
pub fn verify_head(stored: &[Value], head: Option<RevisionNumber>) -> Result<(), Broken> {
    let newest = stored.iter().filter_map(|record| Link::of(record).ok()).map(|link| link.number).max();
    match head {
        Some(head) if newest.is_none_or(|newest| newest < head) => Err(Broken::Missing(head)),
        _ => Ok(()),
    }
}

/// What chains one record to the others.
struct Link {
    number: RevisionNumber,
    previous: Option<Digest>,
    digest: Digest,
    retained_from: RevisionNumber,
}

impl Link {
    fn of(stored: &Value) -> Result<Self, Broken> {
        let number = |field: &str| {
            let number = stored[field].as_u64().and_then(|number| u32::try_from(number).ok());
            number.and_then(RevisionNumber::new)
        };
        let digest = |field: &str| stored[field].as_str().and_then(|text| text.parse::<Digest>().ok());
        let Some(revision) = number("revision") else { return Err(Broken::Unreadable) };
        let link = Self {
            number: revision,
            previous: digest("previous"),
            digest: digest("digest").ok_or(Broken::Edited(revision))?,
            retained_from: number("retainedFrom").unwrap_or(RevisionNumber::FIRST),
        };
        if digest_of(stored) == link.digest { Ok(link) } else { Err(Broken::Edited(revision)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn history(length: u32) -> Vec<EnvironmentRevisionSpec> {
        let mut records: Vec<EnvironmentRevisionSpec> = vec![];
        for number in 1..=length {
            let record = json!({
                "environment": "staging", "environmentUid": "u", "revision": number, "generation": number,
                "cause": if number == 1 { "Created" } else { "ConfigChanged" }, "config": {},
                "configDigest": Digest::of(b""), "declared": {}, "changes": {}, "actor": "ana",
                "timestamp": jiff::Timestamp::UNIX_EPOCH, "digest": Digest::of(b""),
                "retainedFrom": (number > 3).then(|| number - 2),
                "previous": records.last().map(|record| record.digest),
            });
            records.push(sealed(serde_json::from_value(record).unwrap()));
        }
        records
    }

    fn stored(records: &[EnvironmentRevisionSpec]) -> Vec<Value> {
        records.iter().map(|record| json!(record)).collect()
    }

    fn number(number: u32) -> RevisionNumber {
        RevisionNumber::new(number).unwrap()
    }

    #[test]
    fn an_untouched_history_is_whole() {
        assert_eq!(verify(&stored(&history(4))), Ok(()));
        assert_eq!(verify(&[]), Ok(()));
    }

    #[test]
    fn records_that_went_by_rule_are_not_missed_and_those_that_somebody_took_are() {
        let whole = history(8);
        assert_eq!(verify(&stored(&whole[5..])), Ok(()), "6, 7 and 8 are complete from 6 on");
        let kept: Vec<_> = whole[1..2].iter().chain(&whole[5..]).cloned().collect();
        assert_eq!(verify(&stored(&kept)), Ok(()), "2 was kept for a reason");
        assert_eq!(verify(&stored(&whole[6..])), Err(Broken::Missing(number(6))));
        let cut: Vec<_> = whole[..6].iter().chain(&whole[7..]).cloned().collect();
        assert_eq!(verify(&stored(&cut)), Err(Broken::Missing(number(7))));
    }

    #[test]
    fn a_record_with_fields_that_this_program_does_not_know_is_whole() {
        let mut record = json!(history(1)[0]);
        record["window"] = json!("weekend");
        record["digest"] = json!(digest_of(&record));
        assert_eq!(verify(&[record]), Ok(()));
    }

    #[test]
    fn every_edit_deletion_and_reordering_is_found() {
        let mut edited = history(3);
        edited[1].actor = "eve".into();
        assert_eq!(verify(&stored(&edited)), Err(Broken::Edited(number(2))));

        let mut resealed = history(3);
        resealed[1].actor = "eve".into();
        resealed[1] = sealed(resealed[1].clone());
        assert_eq!(verify(&stored(&resealed)), Err(Broken::Unchained(number(3))));

        let mut deleted = history(3);
        deleted.remove(1);
        assert_eq!(verify(&stored(&deleted)), Err(Broken::Missing(number(2))));

        let mut renumbered = history(3);
        (renumbered[1].revision, renumbered[2].revision) = (number(3), number(2));
        assert!(matches!(verify(&stored(&renumbered)), Err(Broken::Edited(_))));

        let mut cut = history(3);
        cut.pop();
        assert_eq!(verify_head(&stored(&cut), Some(number(3))), Err(Broken::Missing(number(3))));
        assert_eq!(verify_head(&stored(&history(3)), Some(number(3))), Ok(()));

        let mut beheaded = history(3);
        beheaded.remove(0);
        assert_eq!(verify(&stored(&beheaded)), Err(Broken::Missing(number(1))));
    }
}
