//! What is generated is as its source says, and what is pure stays pure.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use environment_manager::{api::crd, controller::rights, domain::vault::SecretsOperator};

/// The file is what its source makes of it. `UPDATE=1 cargo test --test generated` rewrites it.
fn check(file: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(file, expected).unwrap();
    }
    let same = fs::read_to_string(file).is_ok_and(|stored| stored == expected);
    assert!(same, "{file} is out of date: run `UPDATE=1 cargo test --test generated`");
}

#[test]
fn the_custom_resource_definitions_are_those_of_the_types() {
    check("charts/environment-manager/files/crds.yaml", &environment_manager::api::crds_yaml());
}

#[test]
fn the_charts_rights_are_those_of_the_table() {
    let external_secrets = SecretsOperator::ExternalSecrets(String::new(), String::new());
    for (file, rights) in [
        ("operator-rules", rights::everywhere()),
        ("operator-rules-at-home", rights::at_home()),
        ("operator-rules-external-secrets", rights::with_secrets_operator(&external_secrets)),
        ("operator-rules-vault-secrets", rights::with_secrets_operator(&SecretsOperator::VaultSecrets)),
    ] {
        check(&format!("charts/environment-manager/files/{file}.yaml"), &crd::yaml(&rights::rules(&rights)));
    }
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
