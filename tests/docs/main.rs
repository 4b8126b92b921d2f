//! The documentation is true: its examples are accepted by a real API server, its commands exist, its links lead
//! somewhere, and its tables are what the code says.
//!
//! `UPDATE=1 cargo test --test docs` rewrites what is generated.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions"
)]

mod commands;
mod examples;
mod generated;
mod links;
mod markdown;
