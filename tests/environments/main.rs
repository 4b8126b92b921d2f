//! Environments as people see them: kubectl on one side, a real API server on the other, the operator in between.
//!
//! One control plane is shared by all tests, each of which has a project of its own. Tests that need to start and stop
//! operators take turns on two others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions"
)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod cloning;
mod configuration;
mod crash;
mod creation;
mod deletion;
mod drift;
mod examples;
mod process;
mod promotions;
mod sabotage;
mod status;
mod ttl;
mod versions;
