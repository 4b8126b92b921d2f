//! The world that the end-to-end tests act in: a real control plane, the real operator, and people with kubectl.
//!
//! [`Project`] is where a test begins; [`Environment`] is what it acts on.

#![allow(dead_code, unused_imports, reason = "several test programs share it, and none needs all of it")]

pub mod audit;
pub mod chart;
mod child;
mod cluster;
mod environment;
pub mod kstatus;
mod operator;
mod project;
mod promotion;
mod proxy;
mod reader;
mod watch;

use std::time::Duration;

pub use audit::Request;
pub use child::{Child, content as child_content};
pub use cluster::{Cluster, plane};
use devcluster::wait_until;
pub use environment::{Builder, Environment, condition};
pub use operator::{Operator, PATIENT, http_get};
pub use project::Project;
pub use promotion::Promotion;
pub use proxy::Proxy;

/// Far more than anything here takes on an idle machine; the machines of CI are never idle.
pub const LIMIT: Duration = Duration::from_secs(45);

/// Waits until `look` has an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    match wait_until(what, LIMIT, || Ok(look())) {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
