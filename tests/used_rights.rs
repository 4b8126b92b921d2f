//! Least privilege over the whole suite: what all operators of all tests asked of all API servers is what the chart grants.
//!
//! It reads the audit logs that the tests before it left. Cargo runs test programs in the order of their names, and this is the last.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions"
)]

mod support;

use std::fs;

use environment_manager::domain::vault::SecretsOperator;
use support::audit::{self, Uses};

#[test]
fn the_whole_suite_used_every_right_and_nothing_that_is_no_right() {
    let mut uses = Uses::default();
    for program in ["chart", "environments", "secrets"] {
        let folder = audit::all_logs().join(program);
        let logs: Vec<_> = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        assert!(!logs.is_empty(), "the test program {program} has not run yet: run `cargo test` as a whole");
        println!("{} control planes of {program}", logs.len());
        for log in &logs {
            uses.read(log);
        }
    }
    let external_secrets = SecretsOperator::ExternalSecrets(String::new(), String::new());
    uses.assert_are_the_rights(&[external_secrets, SecretsOperator::VaultSecrets]);
}
