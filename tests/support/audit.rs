//! What was asked of the API server, by whom: read from its audit log as it grows.

use std::{fs::File, io::Read as _, path::Path};

use serde_json::Value;

use super::chart;

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
}

/// The writes of one user, in the order of the answers.
#[derive(Debug)]
pub struct Journal {
    log: File,
    unread: Vec<u8>,
    user: String,
    writes: Vec<Request>,
}

impl Journal {
    /// All writes of this user.
    pub fn of(log: &Path, user: &str) -> Self {
        let user = format!("\"username\":\"{user}\"");
        Self { log: File::open(log).unwrap(), unread: vec![], user, writes: vec![] }
    }

    /// The writes so far.
    pub fn writes(&mut self) -> &[Request] {
        self.log.read_to_end(&mut self.unread).unwrap();
        let end = self.unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.unread.drain(..end).collect();
        let lines = String::from_utf8(lines).unwrap();
        self.writes.extend(lines.lines().filter(|line| line.contains(&self.user)).filter_map(write));
        &self.writes
    }
}

/// The request of a line, if it is a write. Events are none here: they are help for people. What an operator does at home is
/// none either: it renews its Lease, and asks whether the policies hold.
fn write(line: &str) -> Option<Request> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let verb = entry["verb"].as_str()?;
    let object = &entry["objectRef"];
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    if ["get", "list", "watch"].contains(&verb) || text("resource") == "events" || text("namespace") == chart::NAMESPACE
    {
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
