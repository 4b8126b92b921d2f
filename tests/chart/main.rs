//! What the chart installs, held against what it promises: by helm, by people who want more than they may, by kills, and by the
//! API server's own account of what was asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "in a test, this is how to fail; clippy sees tests only in #[test] functions"
)]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod availability;
mod combinations;
mod image;
mod lifecycle;
mod rights;
mod values;
