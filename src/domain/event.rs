//! Events: what happened, told to people once.

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether a person should look.
    pub warning: bool,
    /// One word for programs.
    pub reason: String,
    /// What was done or attempted.
    pub action: &'static str,
    /// A sentence for people.
    pub note: String,
}

/// The API server takes 1024 bytes (events.k8s.io/v1).
#[must_use]
pub fn shortened(mut note: String) -> String {
    const MOST: usize = 1000;
    if note.len() > MOST {
        let end = (0..=MOST).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
    note
}
