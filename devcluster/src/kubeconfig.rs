//! Files that tell a client where the API server is, how to know it, and who it is itself.

use std::path::Path;

use serde_json::{Value, json};

use crate::pki::{self, Identity};
use crate::{Error, Result};

/// Writes a kubeconfig for the holder of a client certificate.
pub(crate) fn for_person(path: &Path, server: &str, ca_file: &Path, name: &str, identity: &Identity) -> Result<()> {
    let user = json!({ "client-certificate": &identity.certificate, "client-key": &identity.key });
    write(path, server, ca_file, name, &user)
}

/// Writes a kubeconfig for the holder of a token.
pub(crate) fn for_token(path: &Path, server: &str, ca_file: &Path, name: &str, token: &str) -> Result<()> {
    write(path, server, ca_file, name, &json!({ "token": token }))
}

/// A kubeconfig is YAML, and JSON is YAML: so no YAML library is needed, and no quoting by hand.
fn write(path: &Path, server: &str, ca_file: &Path, name: &str, user: &Value) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "devcluster", "cluster": { "server": server, "certificate-authority": ca_file } }],
        "users": [{ "name": name, "user": user }],
        "contexts": [{ "name": "devcluster", "context": { "cluster": "devcluster", "user": name } }],
        "current-context": "devcluster",
    });
    let text = serde_json::to_string_pretty(&config).map_err(|error| Error::io("write", path)(error.into()))?;
    pki::write(path, &text)
}
