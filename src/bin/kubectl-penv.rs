//! The kubectl plugin's binary: put it on the PATH and call `kubectl penv`.

use std::process::ExitCode;

use clap::Parser as _;
use environment_manager::cli::Plugin;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Plugin::parse().run().await
}
