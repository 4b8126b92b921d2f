//! The folder of built tools: filled once, by one process, and never seen half full.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::recipe::Recipe;
use crate::{Error, Result, progress::say};

/// The list of a group's programs and their sizes. It is the last file written, and is checked at each use.
const SEAL: &str = "sealed";

/// The cache of one user.
///
/// A group of tools is at `tools/<name>-<digest>/bin`. It is built in a folder beside it, which is renamed when it is
/// complete: so either all of it is there or nothing.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    tools: PathBuf,
}

impl Cache {
    pub fn at(root: impl AsRef<Path>) -> Self {
        Self { tools: root.as_ref().join("tools") }
    }

    /// The folder with the recipe's programs.
    ///
    /// `build` fills a new folder (its first argument, which has an empty `bin`) and writes its output to a log file
    /// (its second). It is called by one process at a time, and only when the programs are not there or not intact.
    pub fn install(&self, recipe: &Recipe, build: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
        let key = format!("{}-{}", recipe.name, recipe.digest());
        let home = self.tools.join(&key);
        if is_intact(&home, recipe.programs) {
            return Ok(home.join("bin"));
        }
        fs::create_dir_all(&self.tools).map_err(Error::io("create", &self.tools))?;
        let _lock = lock(&self.tools.join(format!("{key}.lock")), recipe)?;
        if is_intact(&home, recipe.programs) {
            return Ok(home.join("bin"));
        }
        remove(&home)?;
        let staging = self.tools.join(format!("{key}.building"));
        remove(&staging)?;
        let bin = staging.join("bin");
        fs::create_dir_all(&bin).map_err(Error::io("create", &bin))?;
        build(&staging, &self.tools.join(format!("{key}.log")))?;
        seal(&staging, recipe.programs)?;
        fs::rename(&staging, &home).map_err(Error::io("rename to", &home))?;
        Ok(home.join("bin"))
    }
}

/// Waits for the lock. The kernel lets go of it when its holder ends, however it ends.
fn lock(path: &Path, recipe: &Recipe) -> Result<File> {
    let file = File::options().create(true).append(true).open(path).map_err(Error::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!("waiting for another process to {}", recipe.purpose()));
            file.lock().map_err(Error::io("lock", path))?;
        }
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    Ok(file)
}

/// Makes the programs executable and durable, and writes down that they are complete.
///
/// Without the sync, a crash of the machine soon after the rename could leave a complete folder of empty files.
fn seal(staging: &Path, programs: &[&str]) -> Result<()> {
    for program in programs {
        let path = staging.join("bin").join(program);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Error::io("make executable", &path))?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
    }
    let path = staging.join(SEAL);
    fs::write(&path, inventory(staging, programs)).map_err(Error::io("write", &path))?;
    File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))
}

/// Whether the folder was sealed and its programs still have their sizes.
fn is_intact(home: &Path, programs: &[&str]) -> bool {
    fs::read_to_string(home.join(SEAL)).is_ok_and(|sealed| sealed == inventory(home, programs))
}

/// One line per program with its size; a missing program has none.
fn inventory(home: &Path, programs: &[&str]) -> String {
    let size = |program: &str| fs::metadata(home.join("bin").join(program)).map(|file| file.len());
    programs.iter().filter_map(|program| Some(format!("{} {program}\n", size(program).ok()?))).collect()
}

/// Removes a folder that need not be there.
fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", directory)(source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::recipe::Method;
    use super::*;

    /// A recipe whose only program is a text file.
    fn recipe() -> Recipe {
        Recipe {
            name: "fake",
            what: "a fake".to_owned(),
            cost: "nothing",
            pins: &[("pin", "1")],
            method: Method::Pip { program: "" },
            programs: &["tool"],
        }
    }

    fn write(contents: &'static str) -> impl Fn(&Path, &Path) -> Result<()> {
        move |staging, _| {
            fs::write(staging.join("bin/tool"), contents).unwrap();
            Ok(())
        }
    }

    fn never(_: &Path, _: &Path) -> Result<()> {
        panic!("built again")
    }

    fn failure() -> Error {
        Error::Timeout { what: "a build".to_owned(), seconds: 0 }
    }

    #[test]
    fn a_build_is_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let first = cache.install(&recipe(), write("one")).unwrap();
        assert_eq!(cache.install(&recipe(), never).unwrap(), first);
        assert_eq!(fs::read_to_string(first.join("tool")).unwrap(), "one");
        assert_eq!(fs::metadata(first.join("tool")).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_failed_build_leaves_nothing_to_use() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let half = |staging: &Path, log: &Path| {
            write("half")(staging, log)?;
            Err(failure())
        };
        cache.install(&recipe(), half).unwrap_err();
        let bin = cache.install(&recipe(), write("whole")).unwrap();
        assert_eq!(fs::read_to_string(bin.join("tool")).unwrap(), "whole");
    }

    #[test]
    fn a_build_without_its_program_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        cache.install(&recipe(), |_, _| Ok(())).unwrap_err();
        assert!(cache.install(&recipe(), write("whole")).is_ok());
    }

    #[test]
    fn a_build_that_was_killed_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let key = format!("fake-{}", recipe().digest());
        for left_behind in [key.clone(), format!("{key}.building")] {
            let bin = directory.path().join("tools").join(left_behind).join("bin");
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join("tool"), "half").unwrap();
        }
        let bin = cache.install(&recipe(), write("whole")).unwrap();
        assert_eq!(fs::read_to_string(bin.join("tool")).unwrap(), "whole");
    }

    #[test]
    fn a_truncated_program_is_built_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let bin = cache.install(&recipe(), write("whole")).unwrap();
        fs::write(bin.join("tool"), "").unwrap();
        cache.install(&recipe(), write("whole")).unwrap();
        assert_eq!(fs::read_to_string(bin.join("tool")).unwrap(), "whole");
    }

    #[test]
    fn many_at_once_build_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let (builds, started) = (AtomicUsize::new(0), std::sync::Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    started.wait();
                    let build = |staging: &Path, log: &Path| {
                        builds.fetch_add(1, Ordering::SeqCst);
                        write("one")(staging, log)
                    };
                    assert!(cache.install(&recipe(), build).unwrap().join("tool").is_file());
                });
            }
        });
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    }
}
