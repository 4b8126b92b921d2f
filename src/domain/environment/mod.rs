//! An environment: what it should look like, and what to do next about it.
//!
//! [`plan::plan`] is the heart: given a [`snapshot::Snapshot`] of what is known, it answers with the next step. The
//! controller carries the step out, takes a new snapshot and asks again, until nothing is left to do. The other
//! modules each hold one concern that the plan is made of.

pub mod children;
pub mod config;
pub mod events;
pub mod flagd;
pub mod intents;
pub mod isolation;
pub mod limits;
pub mod naming;
pub mod ownership;
pub mod plan;
pub mod release;
pub mod secret_objects;
pub mod secrets;
pub mod snapshot;
pub mod status;
pub mod teardown;
pub mod ttl;
