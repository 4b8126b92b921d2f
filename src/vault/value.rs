//! Secret values on their way through the operator.
//!
//! They have no `Debug`, `Display` or `Serialize`, are never cloned but into the body of a request, and are wiped when they are
//! dropped. What cannot be wiped are the buffers of the TLS library and the kernel, for as long as a connection uses them.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

/// A secret value: a password, or a token of Vault.
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    /// Takes it over.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. For the header or the body of a request to Vault, and nothing else.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// The body of a request: perhaps with values.
#[derive(Clone)]
pub(super) struct SecretBody(Arc<Wiped>);

/// Bytes that are wiped when the last one who holds them lets go.
struct Wiped(Vec<u8>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

struct Shared(Arc<Wiped>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref()
    }
}

impl SecretBody {
    pub fn empty() -> Self {
        Self::of(vec![])
    }

    pub fn plain(body: &Value) -> Self {
        Self::of(body.to_string().into_bytes())
    }

    fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Wiped(bytes)))
    }

    /// A login's body: `{"jwt": …, "role": …}` and the like.
    pub fn fields(fields: &[(&str, &str)]) -> Self {
        let mut body = Vec::with_capacity(fields.iter().map(|(name, value)| name.len() + 2 * value.len() + 16).sum());
        write_object(&mut body, fields.iter().copied());
        Self::of(body)
    }

    /// The first version of a secret with these values: refused where there is one already (`cas` 0).
    pub fn first_version(values: &[(String, SecretValue)]) -> Self {
        // Room for every character to be escaped: so it is never moved, and no copy is left behind.
        let room = values.iter().map(|(key, value)| 6 * (key.len() + value.expose().len()) + 8).sum::<usize>() + 64;
        let mut body = Vec::with_capacity(room);
        body.extend_from_slice(br#"{"options":{"cas":0},"data":"#);
        write_object(&mut body, values.iter().map(|(key, value)| (key.as_str(), value.expose())));
        body.push(b'}');
        Self::of(body)
    }

    /// For hyper. The bytes are wiped when it has sent them and nobody repeats the request.
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(Shared(self.0.clone()))
    }
}

fn write_object<'a>(body: &mut Vec<u8>, fields: impl Iterator<Item = (&'a str, &'a str)>) {
    body.push(b'{');
    for (at, (name, value)) in fields.enumerate() {
        if at > 0 {
            body.push(b',');
        }
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(&mut *body, name);
        body.push(b':');
        let _ = serde_json::to_writer(&mut *body, value);
    }
    body.push(b'}');
}

impl fmt::Debug for SecretBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBody")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_version_is_json_whatever_the_values_are() {
        let values = vec![("key".to_owned(), SecretValue::new("a\"b\\\n\u{1}ü".to_owned()))];
        let body = SecretBody::first_version(&values);
        let parsed: Value = serde_json::from_slice(&body.bytes()).unwrap();
        assert_eq!(parsed, serde_json::json!({"options": {"cas": 0}, "data": {"key": "a\"b\\\n\u{1}ü"}}));
    }
}
