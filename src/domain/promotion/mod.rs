//! A promotion: what it would do, what has to hold before it may, and what to do next about it.
//!
//! [`plan::plan`] is the heart: given a [`snapshot::Snapshot`] it answers with the next step. [`proposal`] works out what
//! would be there afterwards, [`gates`] say whether that may be, [`live`] whether what is
//! seen is good enough to commit. [`outcome`] follows the deployment, [`status`] puts all
//! of it into words. [`auto`] says when a promotion is made by itself.

pub mod auto;
pub mod events;
pub mod gates;
pub mod live;
pub mod outcome;
pub mod plan;
pub mod proposal;
pub mod record;
pub mod snapshot;
pub mod status;
#[cfg(test)]
pub(crate) mod world;
