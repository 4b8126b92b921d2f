//! Environment Manager: the environments of a no-code platform, their versions and their configuration.

pub mod api;
pub mod cli;
pub mod config;
pub mod controller;
pub mod domain;
pub mod kube_ext;
pub mod metrics;
pub mod server;
pub mod telemetry;
