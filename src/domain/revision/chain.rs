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

/// The digest of all fields but the digest itself.
fn digest(record: &EnvironmentRevisionSpec) -> Digest {
    let mut fields = serde_json::to_value(record).unwrap_or_default();
    if let Value::Object(fields) = &mut fields {
        fields.remove("digest");
    }
    canonical::digest(&fields)
}

/// Checks a history, given from the oldest kept record to the newest.
pub fn verify<'a>(records: impl IntoIterator<Item = &'a EnvironmentRevisionSpec>) -> Result<(), Broken> {
    let mut before: Option<&EnvironmentRevisionSpec> = None;
    for record in records {
        if record.digest != digest(record) {
            return Err(Broken::Edited(record.revision));
        }
        let expected = before.map_or(record.revision, |before| before.revision.next());
        if record.revision != expected {
            return Err(Broken::Missing(expected));
        }
        let chained = match before {
            Some(before) => record.previous == Some(before.digest),
            None => record.revision != RevisionNumber::FIRST || record.previous.is_none(),
        };
        if !chained {
            return Err(Broken::Unchained(record.revision));
        }
        before = Some(record);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        Cause,
        revision::{Changes, DeclaredConfiguration, EffectiveConfiguration},
    };

    fn history(length: u32) -> Vec<EnvironmentRevisionSpec> {
        let mut records: Vec<EnvironmentRevisionSpec> = vec![];
        for number in 1..=length {
            records.push(sealed(EnvironmentRevisionSpec {
                environment: "staging".into(),
                environment_uid: "u".into(),
                revision: RevisionNumber::new(number).unwrap(),
                generation: i64::from(number),
                cause: if number == 1 { Cause::Created } else { Cause::ConfigChanged },
                base: None,
                version: None,
                config: EffectiveConfiguration::default(),
                config_digest: Digest::of(b""),
                declared: DeclaredConfiguration::default(),
                changes: Changes::default(),
                actor: "ana".into(),
                timestamp: jiff::Timestamp::UNIX_EPOCH,
                previous: records.last().map(|record| record.digest),
                digest: Digest::of(b""),
            }));
        }
        records
    }

    #[test]
    fn an_untouched_history_is_whole_also_after_old_records_went() {
        assert_eq!(verify(&history(4)), Ok(()));
        assert_eq!(verify(&history(4)[2..]), Ok(()));
    }

    #[test]
    fn every_edit_deletion_and_reordering_is_found() {
        let number = |number| RevisionNumber::new(number).unwrap();

        let mut edited = history(4);
        edited[1].actor = "eve".into();
        assert_eq!(verify(&edited), Err(Broken::Edited(number(2))));

        let mut resealed = history(4);
        resealed[1].actor = "eve".into();
        resealed[1] = sealed(resealed[1].clone());
        assert_eq!(verify(&resealed), Err(Broken::Unchained(number(3))));

        let mut deleted = history(4);
        deleted.remove(1);
        assert_eq!(verify(&deleted), Err(Broken::Missing(number(2))));

        let mut reordered = history(4);
        reordered.swap(1, 2);
        assert_eq!(verify(&reordered), Err(Broken::Missing(number(2))));
    }
}
