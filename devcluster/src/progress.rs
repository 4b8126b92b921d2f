//! What the person sees while tools are built or a log is kept.

use std::io::Write as _;

/// Writes one line to stderr, past the test harness.
///
/// `cargo test` captures what `eprintln!` writes and shows it only when a test fails. A first build takes minutes, and
/// silence would look like a hang. So this writes to the stream itself.
pub(crate) fn say(line: &str) {
    // Nothing can be done about a closed stderr, and it is no reason to fail.
    let _ = std::io::stderr().lock().write_all(format!("devcluster: {line}\n").as_bytes());
}
