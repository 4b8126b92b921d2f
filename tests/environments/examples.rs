//! The examples are what they claim to be: input that a strict API server takes.

use std::path::{Path, PathBuf};

use crate::support::Cluster;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_example_passes_a_strict_dry_run_on_the_server() {
    let cluster = Cluster::shared();
    let files = files(Path::new("examples"));
    let (projects, others): (Vec<_>, Vec<_>) = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .partition(|path| path.ends_with("project.yaml"));
    assert!(!projects.is_empty() && others.len() >= 5, "{files:?}");
    let apply = |path: &Path, dry_run: &str| {
        let path = path.to_str().unwrap();
        let args = ["apply", "--server-side", "--validate=strict", dry_run, "--filename", path];
        cluster.kubectl().run(args).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    // A namespace must be there before anything can be tried in it.
    for path in projects {
        apply(path, "--dry-run=none");
    }
    for path in others {
        apply(path, "--dry-run=server");
    }
}
