//! Environment Manager: the environments of a no-code platform, their versions and their configuration.

#[allow(clippy::doc_markdown, reason = "these docs are what `kubectl explain` prints, where backticks only disturb")]
pub mod api;
#[allow(clippy::doc_markdown, reason = "these docs are what `--help` prints")]
pub mod cli;
pub mod config;
pub mod controller;
pub mod domain;
pub mod kube_ext;
pub mod metrics;
pub mod server;
pub mod telemetry;
pub mod vault;
