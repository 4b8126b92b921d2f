//! The controllers and the process around them.

pub mod error;
pub mod run_loop;
