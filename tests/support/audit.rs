//! What was asked of the API server, by whom: read from its audit log.

use std::path::Path;

use serde_json::Value;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As in RBAC.
    pub verb: String,
    /// The plural name, and a subresource after a slash.
    pub resource: String,
    /// Empty for what lies in no namespace.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// The HTTP status.
    pub code: u64,
}

impl Request {
    /// Whether it concerns this project: its own namespace or that of one of its environments.
    pub fn concerns(&self, project: &str) -> bool {
        let environments = format!("{project}--");
        let at = |name: &str| name == project || name.starts_with(&environments);
        at(&self.namespace) || (self.namespace.is_empty() && at(&self.name))
    }

    /// As one word, for comparing and printing: `patch configmaps/release 201`.
    pub fn summary(&self) -> String {
        format!("{} {}/{} {}", self.verb, self.resource, self.name, self.code)
    }
}

/// The writes of one user so far, in the order of the answers. Events are no writes here: they are help for people.
pub fn writes_of(log: &Path, user: &str) -> Vec<Request> {
    let text = std::fs::read_to_string(log).unwrap();
    let user = format!("\"username\":\"{user}\"");
    text.lines().filter(|line| line.contains(&user)).filter_map(read).collect()
}

fn read(line: &str) -> Option<Request> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let verb = entry["verb"].as_str()?;
    let object = &entry["objectRef"];
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    if ["get", "list", "watch"].contains(&verb) || text("resource") == "events" {
        return None;
    }
    let subresource = text("subresource");
    let separator = if subresource.is_empty() { "" } else { "/" };
    Some(Request {
        verb: verb.to_owned(),
        resource: format!("{}{separator}{subresource}", text("resource")),
        namespace: text("namespace"),
        name: text("name"),
        code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
    })
}
