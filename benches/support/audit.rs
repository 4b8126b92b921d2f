//! What was asked of the API server, by its own account.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::Deserialize;

use super::{Result, cluster};

/// How often the log is looked at. Each look is a read of what is new, so it costs next to nothing.
const LOOK: Duration = Duration::from_millis(100);
/// Without a write for this long, the server's own controllers have caught up.
const QUIET: Duration = Duration::from_secs(3);
/// An operator that makes no progress for this long has failed.
const PATIENCE: Duration = Duration::from_mins(2);

/// A reader of the audit log. Each entry is read once.
pub struct Audit {
    path: PathBuf,
    offset: u64,
}

/// One request that was answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<Status>,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct ObjectRef {
    namespace: Option<String>,
    resource: Option<String>,
    subresource: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

impl Entry {
    fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    fn is_read(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list")
    }

    /// Whether it is the operator's, and no part of the election of a leader or of its look at the policies, which it does at home.
    fn is_operators_work(&self) -> bool {
        let namespace = self.object_ref.as_ref().and_then(|object| object.namespace.as_deref());
        self.user.username == cluster::OPERATOR_USER
            && self.user_agent.starts_with(cluster::OPERATOR_AGENT)
            && namespace != Some(cluster::NAME)
    }

    /// As in `create events` or `patch platformenvironments/status`, with the code if it is an error.
    fn name(&self) -> String {
        let object = self.object_ref.as_ref();
        let resource = object.and_then(|object| object.resource.as_deref()).unwrap_or("nothing");
        let subresource = object.and_then(|object| object.subresource.as_deref());
        let subresource = subresource.map(|name| format!("/{name}")).unwrap_or_default();
        let code = self.response_status.as_ref().map_or(0, |status| status.code);
        let error = if code < 400 { String::new() } else { format!(" ({code})") };
        format!("{} {resource}{subresource}{error}", self.verb)
    }
}

impl Audit {
    /// Reads from now on.
    pub fn of(path: &Path) -> Self {
        let offset = path.metadata().map_or(0, |file| file.len());
        Self { path: path.to_owned(), offset }
    }

    /// The entries since the last look.
    pub fn take(&mut self) -> Result<Vec<Entry>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // The last line may still be in the making.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.offset += whole as u64;
        let entries: std::result::Result<Vec<Entry>, _> = text[..whole].lines().map(serde_json::from_str).collect();
        Ok(entries?.into_iter().filter(|entry: &Entry| entry.stage == "ResponseComplete").collect())
    }

    /// Waits until nobody writes any more, the server's own controllers included.
    pub fn until_quiet(&mut self) -> Result<Vec<Entry>> {
        let (mut all, mut quiet) = (vec![], Duration::ZERO);
        while quiet < QUIET {
            std::thread::sleep(LOOK);
            let entries = self.take()?;
            let busy = entries.iter().any(|entry| entry.is_write() && !entry.name().contains("leases"));
            quiet = if busy { Duration::ZERO } else { quiet + LOOK };
            all.extend(entries);
        }
        Ok(all)
    }
}

/// The operator's requests.
#[derive(Default)]
pub struct Tally {
    pub writes: usize,
    /// Gets and lists; not watches.
    pub reads: usize,
    pub by_name: BTreeMap<String, usize>,
    last_write: Option<Timestamp>,
}

impl Tally {
    pub fn of(entries: Vec<Entry>) -> Self {
        let mut tally = Self::default();
        tally.add(entries);
        tally
    }

    pub fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().filter(Entry::is_operators_work) {
            if entry.is_write() {
                self.writes += 1;
                self.last_write = self.last_write.max(Some(entry.stage_timestamp));
            } else if entry.is_read() {
                self.reads += 1;
            } else {
                continue;
            }
            *self.by_name.entry(entry.name()).or_default() += 1;
        }
    }

    /// How many requests of this name there were.
    pub fn count(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// Waits until there were so many of each of these requests. Returns when the very last write was answered.
    pub fn until(&mut self, audit: &mut Audit, expected: &[(&str, usize)]) -> Result<Timestamp> {
        let mut stuck = Duration::ZERO;
        loop {
            let complete = expected.iter().all(|(name, count)| self.count(name) >= *count);
            if let Some(last) = self.last_write.filter(|_| complete) {
                return Ok(last);
            }
            if stuck > PATIENCE {
                return Err(format!("the operator is stuck after these requests: {:#?}", self.by_name).into());
            }
            std::thread::sleep(LOOK);
            let before = self.writes;
            self.add(audit.take()?);
            stuck = if self.writes == before { stuck + LOOK } else { Duration::ZERO };
        }
    }
}
