//! The control plane's directory, which is removed when its owner ends.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Error, Result};

/// Waits for the owner's end, which closes its standard input, and then removes the directory. Of a kept one it removes
/// only etcd's data, which is large and says little. It tries again while the servers, which end at the same moment,
/// still write.
const JANITOR: &str = r#"
while read -r _; do :; done
[ -e "$1/keep" ] && set -- "$1/etcd"
tries=0
while rm -rf "$1"; [ -e "$1" ] && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
"#;

/// A directory with what the servers and their clients need:
///
/// ```text
/// audit.log            what was asked of the API server, by whom, and whether it was allowed
/// etcd/                etcd's data
/// kubeconfig/          one file per person and ServiceAccount
/// logs/                one file per server
/// openbao/             OpenBao's configuration, data and audit log, where it was started
/// pki/                 certificates and keys
/// ```
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    janitor: Child,
}

impl Directory {
    /// Makes a new directory in `parent`, or where temporary files belong.
    pub fn create(parent: Option<&Path>, name: &str) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = tempfile::Builder::new()
            .prefix(&format!("environment-manager-{name}-"))
            .tempdir_in(&parent)
            .map_err(Error::io("create a directory in", &parent))?
            .keep();
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn { program: "/bin/sh".to_owned(), source })?;
        let directory = Self { path, janitor };
        for part in ["kubeconfig", "logs", "pki"] {
            let part = directory.path.join(part);
            fs::create_dir(&part).map_err(Error::io("create", &part))?;
        }
        Ok(directory)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log file of a server.
    pub fn log(&self, server: &str) -> PathBuf {
        self.path.join("logs").join(format!("{server}.log"))
    }

    /// Where a kubeconfig of this name belongs.
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.path.join("kubeconfig").join(name)
    }

    /// From now on the directory stays.
    pub fn keep(&self) {
        // A full disk is no reason to fail where a test is already failing.
        let _ = fs::write(self.path.join("keep"), "");
    }
}

impl Drop for Directory {
    /// Has the janitor do its work now: `wait` closes its standard input first.
    fn drop(&mut self) {
        let _ = self.janitor.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_removed_when_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::create(Some(parent.path()), "test").unwrap();
        let path = directory.path().to_owned();
        assert!(path.join("logs").is_dir());
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn a_kept_one_loses_only_the_data_of_etcd() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::create(Some(parent.path()), "test").unwrap();
        let path = directory.path().to_owned();
        fs::create_dir(path.join("etcd")).unwrap();
        directory.keep();
        drop(directory);
        assert!(path.join("logs").is_dir());
        assert!(!path.join("etcd").exists());
    }
}
