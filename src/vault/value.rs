//! Secret values on their way through the operator.
//!
//! They have no `Debug`, `Display` or `Serialize`, are never cloned but into the body of a request, and are wiped when they are
//! dropped. What cannot be wiped are the buffers of the libraries for HTTP and TLS and of the kernel, for as long as a connection uses them,
//! and the header with which a token is sent.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, value::RawValue};
use zeroize::{Zeroize as _, Zeroizing};

/// A secret value as JSON, as it stands in a secret: most of them are texts.
pub struct SecretJson(Zeroizing<String>);

impl SecretJson {
    /// What stands there.
    #[must_use]
    pub fn raw(json: &RawValue) -> Self {
        Self(Zeroizing::new(json.get().to_owned()))
    }

    /// A text.
    #[must_use]
    pub fn text(text: &SecretValue) -> Self {
        // Room for every character to be escaped: so it is never moved, and no copy is left behind.
        let mut json = Vec::with_capacity(6 * text.expose().len() + 2);
        // Writing into memory cannot fail, and what is written is UTF-8.
        let _ = serde_json::to_writer(&mut json, text.expose());
        Self(Zeroizing::new(String::from_utf8(json).unwrap_or_default()))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// A secret text: a password, or a token of Vault.
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
        let room = fields.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 8).sum::<usize>() + 2;
        let mut body = Vec::with_capacity(room);
        body.push(b'{');
        for (at, (name, value)) in fields.iter().enumerate() {
            write_name(&mut body, at, name);
            let _ = serde_json::to_writer(&mut body, value);
        }
        body.push(b'}');
        Self::of(body)
    }

    /// The first version of a secret with these values: refused where there is one already (`cas` 0).
    pub fn first_version(values: &[(String, SecretJson)]) -> Self {
        // As for a text: it is never moved.
        let room = values.iter().map(|(key, value)| 6 * key.len() + value.expose().len() + 8).sum::<usize>() + 64;
        let mut body = Vec::with_capacity(room);
        body.extend_from_slice(br#"{"options":{"cas":0},"data":{"#);
        for (at, (name, value)) in values.iter().enumerate() {
            write_name(&mut body, at, name);
            body.extend_from_slice(value.expose().as_bytes());
        }
        body.extend_from_slice(b"}}");
        Self::of(body)
    }

    /// For hyper. The bytes are wiped when it has sent them and nobody repeats the request.
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(Shared(self.0.clone()))
    }
}

fn write_name(body: &mut Vec<u8>, at: usize, name: &str) {
    if at > 0 {
        body.push(b',');
    }
    // Writing into memory cannot fail.
    let _ = serde_json::to_writer(&mut *body, name);
    body.push(b':');
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
        let text = SecretValue::new("a\"b\\\n\u{1}ü".to_owned());
        let number: Box<RawValue> = serde_json::from_str("5432").unwrap();
        let values =
            vec![("key".to_owned(), SecretJson::text(&text)), ("a \"port\"".to_owned(), SecretJson::raw(&number))];
        let body = SecretBody::first_version(&values);
        let parsed: Value = serde_json::from_slice(&body.bytes()).unwrap();
        let data = serde_json::json!({"key": "a\"b\\\n\u{1}ü", "a \"port\"": 5432});
        assert_eq!(parsed, serde_json::json!({"options": {"cas": 0}, "data": data}));
    }
}
