//! What can go wrong, each in one line that says what to do about it.

use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Its text is one line, meant for the person who ran the demo or the tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither the home directory nor a cache directory is known.
    #[error("no place for the cache of built tools: set ENVIRONMENT_MANAGER_CACHE to a folder (or set HOME)")]
    NoCacheDirectory,

    /// A program that builds or installs the tools is missing or too old.
    #[error("cannot {purpose}: {problem}; {remedy}")]
    Prerequisite {
        /// What it is needed for, as a verb phrase.
        purpose: String,
        /// What is wrong with it.
        problem: String,
        /// What the reader can do.
        remedy: String,
    },

    /// Building or installing a tool failed.
    #[error("cannot {purpose}: {problem}; the full output is in {}", log.display())]
    Build {
        /// What failed, as a verb phrase.
        purpose: String,
        /// The line of the output that says most.
        problem: String,
        /// Where the whole output is.
        log: PathBuf,
    },

    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A program could not be started or watched.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A server ended, or did not become ready.
    #[error("{server} {problem}; its log is {}", log.display())]
    Server {
        /// The server's name.
        server: String,
        /// What happened.
        problem: String,
        /// Where its log is.
        log: PathBuf,
    },

    /// A key or certificate could not be made.
    #[error("cannot make a certificate for {subject:?}: {source}")]
    Certificate {
        /// For whom.
        subject: String,
        /// Why it failed.
        source: rcgen::Error,
    },

    /// `kubectl` ended with an error.
    #[error("kubectl {arguments}: {message}")]
    Kubectl {
        /// Its arguments.
        arguments: String,
        /// What it wrote to stderr, in one line.
        message: String,
    },

    /// `helm` ended with an error.
    #[error("helm {arguments}: {message}")]
    Helm {
        /// Its arguments.
        arguments: String,
        /// What it wrote to stderr, in one line.
        message: String,
    },

    /// `bao` ended with an error.
    #[error("bao {arguments}: {message}")]
    Bao {
        /// Its arguments.
        arguments: String,
        /// What it said, in one line.
        message: String,
    },

    /// A condition did not become true in time.
    #[error("waited {seconds} s in vain for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

impl Error {
    /// For `map_err`: says which file an I/O error is about.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
