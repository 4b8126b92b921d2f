//! What was asked of the API server, by whom: read from its audit log as it grows.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use environment_manager::{
    controller::{
        rights::{self, Right},
        world,
    },
    domain::{environment::children::ChildKind, vault::SecretsOperator},
};
use serde_json::Value;

use super::{Operator, chart};

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

/// The folder for the audit logs of this test program's control planes. What its last run left there is gone.
pub fn logs() -> PathBuf {
    static LOGS: OnceLock<PathBuf> = OnceLock::new();
    let fresh = || {
        let folder = all_logs().join(env!("CARGO_CRATE_NAME"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    LOGS.get_or_init(fresh).clone()
}

/// The folder with the folders of all test programs.
pub fn all_logs() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit")
}

/// A verb on a resource of a group, as in RBAC.
pub type Use = (String, String, String);

/// What everybody may ask whom the API server knows (`system:basic-user`): who they are, and what they may.
const EVERYBODYS: [&str; 2] = ["selfsubjectreviews", "selfsubjectaccessreviews"];

/// What the operator asked of API servers.
#[derive(Debug, Default)]
pub struct Uses {
    /// What it was let do.
    pub allowed: BTreeSet<Use>,
    /// What it has no right to.
    pub forbidden: BTreeSet<Use>,
}

impl Uses {
    /// Reads this audit log too.
    pub fn read(&mut self, log: &Path) {
        let lines = BufReader::new(File::open(log).unwrap()).lines().map_while(Result::ok);
        for line in lines.filter(|line| line.contains(Operator::USER)) {
            let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
            // A test that uses its token is somebody else; and what is no object everybody may ask.
            let ours = entry["user"]["username"] == Operator::USER
                && entry["userAgent"].as_str().is_some_and(|agent| !agent.starts_with("kubectl"));
            if !ours || !entry["objectRef"].is_object() {
                continue;
            }
            let object = &entry["objectRef"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
            let resource = format!("{}{subresource}", text(&object["resource"]));
            if EVERYBODYS.contains(&resource.as_str()) {
                continue;
            }
            let used = (text(&object["apiGroup"]), resource, text(&entry["verb"]));
            if entry["annotations"]["authorization.k8s.io/decision"] == "forbid" {
                self.forbidden.insert(used);
            } else if entry["responseStatus"]["code"].as_u64().is_some_and(|code| code != 403) {
                self.allowed.insert(used);
            }
        }
    }

    /// Holds them against the rights of the chart's roles; those that only a secrets operator needs may be used.
    ///
    /// # Panics
    ///
    /// When something is granted and was not used, or was asked for and not granted.
    pub fn assert_are_the_rights(&self, secrets: &[SecretsOperator]) {
        let of = |right: Right| {
            let of = move |verb: &&str| (right.group.clone(), right.resource.clone(), (*verb).to_owned());
            right.verbs.clone().iter().map(of).collect::<Vec<_>>()
        };
        let rights = [rights::everywhere(), rights::at_home(), vec![rights::to_bind(["view".to_owned()])]].concat();
        let granted: BTreeSet<Use> = rights.into_iter().flat_map(of).collect();
        let may: BTreeSet<Use> = secrets.iter().flat_map(rights::with_secrets_operator).flat_map(of).collect();
        let mut used = self.allowed.clone();
        // The API server asks for it itself, when a RoleBinding is written: no request of its own.
        assert!(used.contains(&("rbac.authorization.k8s.io".into(), "rolebindings".into(), "patch".into())));
        used.insert(("rbac.authorization.k8s.io".into(), "clusterroles".into(), "bind".into()));
        // A server-side apply that creates is a patch in the audit log, and asks for create too. So children are made.
        let children = ChildKind::ALL.map(|kind| world::resource(kind).plural);
        let made = self.allowed.iter().filter(|(_, resource, verb)| verb == "patch" && children.contains(resource));
        used.extend(made.map(|(group, resource, _)| (group.clone(), resource.clone(), "create".to_owned())));
        println!("{} rights granted, {} used", granted.len(), used.len());
        let without_right: Vec<&Use> =
            used.difference(&granted).filter(|used| !may.contains(*used)).chain(&self.forbidden).collect();
        let in_vain: Vec<&Use> = granted.difference(&used).collect();
        assert!(without_right.is_empty(), "used and not granted: {without_right:#?}");
        assert!(in_vain.is_empty(), "granted and not used: {in_vain:#?}");
    }
}
