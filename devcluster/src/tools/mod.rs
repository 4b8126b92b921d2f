//! The programs that the control plane is made of, built or installed once per user.
//!
//! What is built is pinned in `tools/` at the root of the repository and compiled into this crate. Each group of tools
//! has its own folder in the cache, keyed by the digest of its own pins, so that another version of helm does not
//! build Kubernetes again.

mod cache;
mod go;
mod install;
mod pip;
mod recipe;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cache::Cache;
use recipe::Recipe;

use crate::{Error, Result};

/// Finds the pinned programs, and builds or installs those that are not in the cache yet.
///
/// Several processes may ask at once: one builds, the others wait for it and say so.
#[derive(Debug, Clone)]
pub struct Toolbox {
    cache: Cache,
    assets: Option<PathBuf>,
    search_path: OsString,
}

/// The programs of the control plane.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the path of the program that it is named after")]
pub struct ControlPlaneTools {
    pub etcd: PathBuf,
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
}

impl Toolbox {
    /// The toolbox that the environment describes.
    ///
    /// The cache is `$ENVIRONMENT_MANAGER_CACHE`, or `environment-manager` in `$XDG_CACHE_HOME` or `~/.cache`.
    /// Programs of the control plane that are in `$KUBEBUILDER_ASSETS` are used as they are. Go and Python are looked
    /// for in `$PATH`.
    pub fn from_env() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let cache = set("ENVIRONMENT_MANAGER_CACHE")
            .map(PathBuf::from)
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| Path::new(&cache).join("environment-manager")))
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache/environment-manager")))
            .ok_or(Error::NoCacheDirectory)?;
        let assets = set("KUBEBUILDER_ASSETS").map(PathBuf::from);
        Ok(Self::new(cache, assets, set("PATH").unwrap_or_default()))
    }

    /// A toolbox with everything told: the cache, the folder of programs to use as they are, and where to look for Go
    /// and Python.
    pub fn new(cache: impl Into<PathBuf>, assets: Option<PathBuf>, search_path: impl Into<OsString>) -> Self {
        Self { cache: Cache::at(cache.into()), assets, search_path: search_path.into() }
    }

    /// The programs of the control plane. About eight minutes on two cores the first time.
    pub fn control_plane(&self) -> Result<ControlPlaneTools> {
        Ok(ControlPlaneTools {
            etcd: self.find(&recipe::etcd(), "etcd")?,
            kube_apiserver: self.find(&recipe::kubernetes(), "kube-apiserver")?,
            kube_controller_manager: self.find(&recipe::kubernetes(), "kube-controller-manager")?,
            kubectl: self.find(&recipe::kubernetes(), "kubectl")?,
        })
    }

    /// The `kubectl` of the control plane.
    pub fn kubectl(&self) -> Result<PathBuf> {
        self.find(&recipe::kubernetes(), "kubectl")
    }

    /// The `helm` program. About three minutes on two cores the first time.
    pub fn helm(&self) -> Result<PathBuf> {
        self.built(&recipe::helm(), "helm")
    }

    /// The folder with the definitions of other projects' kinds, a YAML file each: those of External Secrets, of the Vault Secrets
    /// Operator and of the Prometheus Operator that Environment Manager makes objects of.
    pub fn kinds(&self) -> Result<PathBuf> {
        self.built(&recipe::kinds(), "")
    }

    /// OpenBao's `bao` program. A download of 75 MB the first time.
    pub fn openbao(&self) -> Result<PathBuf> {
        self.built(&recipe::openbao(), "bao")
    }

    /// The program from the given assets when it is there, else the built one.
    fn find(&self, recipe: &Recipe, program: &str) -> Result<PathBuf> {
        let given = self.assets.as_ref().map(|assets| assets.join(program)).filter(|path| path.is_file());
        given.map_or_else(|| self.built(recipe, program), Ok)
    }

    fn built(&self, recipe: &Recipe, program: &str) -> Result<PathBuf> {
        let programs =
            self.cache.install(recipe, |staging, log| install::run(recipe, &self.search_path, staging, log))?;
        Ok(programs.join(program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_programs_are_used_and_the_missing_ones_are_built() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kube-apiserver"), "given").unwrap();
        let toolbox = Toolbox::new(directory.path().join("cache"), Some(directory.path().to_owned()), "");
        let given = toolbox.find(&recipe::kubernetes(), "kube-apiserver").unwrap();
        assert_eq!(given, directory.path().join("kube-apiserver"));
        let error = toolbox.find(&recipe::kubernetes(), "kube-controller-manager").unwrap_err();
        assert!(matches!(error, Error::Prerequisite { .. }), "{error}");
    }

    #[test]
    fn without_go_one_line_says_what_to_install_or_set() {
        let directory = tempfile::tempdir().unwrap();
        let error = Toolbox::new(directory.path(), None, "").control_plane().unwrap_err().to_string();
        assert!(error.contains("install Go 1.26"), "{error}");
        assert!(error.contains("KUBEBUILDER_ASSETS"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn without_python_one_line_says_what_to_install() {
        let directory = tempfile::tempdir().unwrap();
        let error = Toolbox::new(directory.path(), None, "").openbao().unwrap_err().to_string();
        assert!(error.contains("install Python 3"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
