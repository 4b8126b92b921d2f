//! The controllers, and the process they run in.
//!
//! [`run`] is `environment-manager run`: it sets up the [`Process`], [adds the controllers](add_controllers) and lets
//! it run until it is told to stop. Each controller is a [`Reconciler`](run_loop::Reconciler) with its caches; all
//! that they share is in [`run_loop`] and [`process`].

use crate::config::RunConfig;

pub mod error;
pub mod process;
pub mod run_loop;

use process::{Process, RunError};

/// Runs the operator until SIGTERM or SIGINT.
pub async fn run(config: RunConfig) -> Result<(), RunError> {
    let mut process = Process::new(config).await?;
    add_controllers(&mut process);
    process.run().await
}

/// The one place where controllers join the process: make caches, subscribe, [`watch`](Process::watch), and
/// [`control`](Process::control).
fn add_controllers(_process: &mut Process) {}
