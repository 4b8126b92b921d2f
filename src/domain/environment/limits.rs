//! How much configuration an environment has room for, in words for the one who wrote too much.
//!
//! The API server would refuse it too, in words about objects that nobody wrote.

use crate::api::{
    EnvironmentRevisionSpec,
    revision::{EffectiveConfiguration, EffectiveVariable},
};

/// Variables, and likewise flags: the schema of `EnvironmentRevision`.
const MOST_KEYS: usize = 512;

/// Bytes of plain values together: a `ConfigMap` holds 1 MiB (`MaxSecretSize` in Kubernetes' `pkg/apis/core`). The flags of
/// 512 names take a tenth of it.
const MOST_VALUES: usize = 1 << 20;

/// Bytes of a record: etcd takes requests of 1.5 MiB, and the API server adds to the record who owns which field of it.
const MOST_RECORD: usize = 5 << 18;

/// What there is no room for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Too many keys.
    #[error(
        "spec.config.{what}: together with those that came with the base there would be {count} {what}, and there is room \
         for at most {MOST_KEYS}. Take {} out",
        count - MOST_KEYS
    )]
    Keys {
        /// `variables` or `flags`.
        what: &'static str,
        /// How many there would be.
        count: usize,
    },
    /// The plain values are too large together.
    #[error(
        "spec.config.variables: the plain values, with those that came with the base, take {0} bytes together, and there \
         is room for at most {MOST_VALUES} (a ConfigMap of 1 MiB). Shorten or remove values; large data is better kept in \
         a store of its own"
    )]
    Values(usize),
    /// Names, values and references are too large together.
    #[error(
        "spec.config: all names, values and references, with those that came with the base, take {0} bytes as a record, \
         and there is room for at most {MOST_RECORD}. Shorten or remove some of them"
    )]
    Record(usize),
}

/// The first limit that the configuration of this revision exceeds.
#[must_use]
pub fn exceeded(record: &EnvironmentRevisionSpec) -> Option<Exceeded> {
    let EffectiveConfiguration { variables, flags } = &record.config;
    for (what, count) in [("variables", variables.len()), ("flags", flags.len())] {
        if count > MOST_KEYS {
            return Some(Exceeded::Keys { what, count });
        }
    }
    let values = plain_size(variables);
    if values > MOST_VALUES {
        return Some(Exceeded::Values(values));
    }
    Some(stored_size(record)).filter(|size| *size > MOST_RECORD).map(Exceeded::Record)
}

fn plain_size(variables: &[EffectiveVariable]) -> usize {
    variables.iter().filter_map(|variable| variable.value.as_ref()).map(String::len).sum()
}

/// The size of the JSON in etcd. The API server writes five more bytes for each character that means something in HTML.
fn stored_size(record: &EnvironmentRevisionSpec) -> usize {
    let json = serde_json::to_vec(record).unwrap_or_default();
    json.len() + 5 * json.iter().filter(|byte| matches!(byte, b'<' | b'>' | b'&')).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{Cause, RevisionNumber, revision::EffectiveFlag},
        domain::{environment::config, revision::record},
    };

    const FIRST: RevisionNumber = RevisionNumber::FIRST;

    /// The first revision of an environment with this configuration.
    fn with(variables: Vec<EffectiveVariable>, flags: usize) -> EnvironmentRevisionSpec {
        let flag = |number: usize| EffectiveFlag { name: format!("F_{number}"), enabled: true, since: FIRST };
        let config = EffectiveConfiguration { variables, flags: (0..flags).map(flag).collect() };
        EnvironmentRevisionSpec {
            config_digest: config::digest(&config),
            config,
            ..record::begin(("staging", "u"), FIRST, Cause::Created, jiff::Timestamp::UNIX_EPOCH)
        }
    }

    fn variables(count: usize, value: &str) -> Vec<EffectiveVariable> {
        let name = |number: usize| format!("V_{number}");
        let value = Some(value.to_owned());
        (0..count)
            .map(|number| EffectiveVariable { name: name(number), value: value.clone(), vault: None, since: FIRST })
            .collect()
    }

    #[test]
    fn what_fits_exactly_is_within_the_limits_and_one_more_is_not() {
        assert_eq!(exceeded(&with(variables(512, &"x".repeat(2048)), 512)), None);
        assert_eq!(exceeded(&with(variables(513, ""), 0)), Some(Exceeded::Keys { what: "variables", count: 513 }));
        assert_eq!(exceeded(&with(vec![], 514)), Some(Exceeded::Keys { what: "flags", count: 514 }));
        let mut one_byte_more = variables(512, &"x".repeat(2048));
        one_byte_more[0].value = Some("x".repeat(2049));
        assert_eq!(exceeded(&with(one_byte_more, 0)), Some(Exceeded::Values((1 << 20) + 1)));
    }

    #[test]
    fn what_grows_in_storage_is_counted_as_it_is_stored() {
        assert_eq!(exceeded(&with(variables(400, &"x".repeat(2048)), 0)), None);
        let exceeded = exceeded(&with(variables(400, &"<".repeat(2048)), 0));
        assert!(matches!(exceeded, Some(Exceeded::Record(size)) if size > 400 * 2048 * 6), "{exceeded:?}");
    }

    #[test]
    fn the_words_say_how_many_there_are_how_many_fit_and_what_to_do() {
        let words = Exceeded::Keys { what: "flags", count: 515 }.to_string();
        assert!(
            words.contains("515 flags") && words.contains("at most 512") && words.ends_with("Take 3 out"),
            "{words}"
        );
    }
}
