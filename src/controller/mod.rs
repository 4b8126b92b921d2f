//! The controllers and the process around them.

pub mod environment;
pub mod error;
pub mod rights;
pub mod run_loop;
pub mod version;
