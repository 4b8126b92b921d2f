//! Which incarnation of an object is meant.

use std::fmt;

/// `metadata.uid`: tells an object from a later one of the same name.
///
/// API servers make UUIDs; those take 16 bytes without an allocation. Anything else is kept as it is, because the
/// API defines a uid as an opaque string and a delete's precondition must give it back unchanged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid([u8; 16]),
    Other(Box<str>),
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self(canonical_uuid(text).map_or_else(|| Repr::Other(text.into()), Repr::Uuid))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Other(text) => f.write_str(text),
            Repr::Uuid(bytes) => {
                for (index, byte) in bytes.iter().enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Only the canonical form (lower case, hyphens in place), so that printing it gives the same text again.
fn canonical_uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0_u8; 16];
    let mut digits = 0;
    for (index, character) in text.bytes().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_gives_back_the_text_it_was_made_of() {
        for text in [
            "6f1c2a94-0b1d-4c53-9d5e-00ffaa113377",
            "6F1C2A94-0B1D-4C53-9D5E-00FFAA113377",
            "6f1c2a940b1d4c539d5e00ffaa113377",
            "6f1c2a94-0b1d-4c53-9d5e-00ffaa11337",
            "6f1c2a94-0b1d-4c53-9d5e-00ffaa11337é",
            "",
        ] {
            assert_eq!(Uid::from(text).to_string(), text);
        }
    }

    #[test]
    fn a_uuid_takes_no_allocation() {
        assert!(matches!(Uid::from("6f1c2a94-0b1d-4c53-9d5e-00ffaa113377").0, Repr::Uuid(_)));
        assert!(size_of::<Uid>() <= 24);
    }
}
