//! What all benchmarks need: a control plane, the operator as a process, what was asked of the server, what processes
//! use, and how it is reported.

pub mod audit;
pub mod cluster;
pub mod operator;
pub mod report;
pub mod requests;
pub mod usage;

/// Anything may go wrong, and then the run is void.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
