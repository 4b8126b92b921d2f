//! Errors of the Kubernetes API in words that a condition or a log line can carry.

use std::{error::Error, fmt::Write as _};

use kube::{core::Status, runtime::watcher};

/// What the API server said, in its own words; else the error with all that caused it.
///
/// `kube::Error` prints a refusal with its debug form, which is no sentence.
#[must_use]
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => describe_status(status),
        kube::Error::Service(cause) => with_causes(cause.as_ref()),
        other => with_causes(other),
    }
}

/// [`describe`] for what a watch reports.
#[must_use]
pub fn describe_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => describe(cause),
        watcher::Error::WatchError(status) => describe_status(status),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Whether this is the API server's answer about the write itself, be it a refusal or a fault (an admission webhook that is
/// down, for example). No answer, or the wish to be asked later, passes.
#[must_use]
pub fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if ![429, 503, 504].contains(&status.code))
}

fn describe_status(status: &Status) -> String {
    if status.message.is_empty() { format!("{} ({})", status.reason, status.code) } else { status.message.clone() }
}

/// An error followed by its causes. Many errors repeat their cause in their own text; that is left out.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {said}");
        }
        cause = error.source();
    }
    text
}
