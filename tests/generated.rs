//! What is generated is as its source says, and what is pure stays pure.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn the_custom_resource_definitions_are_those_of_the_types() {
    let file = "crds/platform.puraify.app.yaml";
    let stored = fs::read_to_string(file).unwrap();
    let same = stored == environment_manager::api::crds_yaml();
    assert!(same, "{file} is out of date: run `cargo run -- crds > {file}`");
}

fn sources(directory: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = vec![];
    walk(Path::new(directory), &mut found);
    assert!(!found.is_empty(), "{directory} has no files");
    found
}

#[test]
fn api_and_domain_know_no_client_no_runtime_and_no_clock() {
    let impure = [
        "kube::Client",
        "kube::Api",
        "tokio",
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "std::fs",
        "std::env",
        "std::net",
    ];
    for file in sources("src/domain").into_iter().chain(sources("src/api")) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = impure.iter().find(|word| code.contains(**word));
            assert_eq!(found, None, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}
