//! Environments and their places in Vault, on a real OpenBao: what is made there, who reads it and who does not, what a clone gets,
//! what happens while Vault is away, and that no value is anywhere else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions"
)]

#[path = "../support/mod.rs"]
mod support;

mod canary;
mod cloning;
mod isolation;
mod logins;
mod operators;
mod outage;
mod removal;
mod world;
