//! What the project exists for, pure and synchronous: no kube client, no runtime, no clock (now is an argument), no I/O.
//!
//! Read it in this order: [`environment`] says what an environment should look like and what to do next about it,
//! [`promotion`] says what may move into one, [`revision`] keeps its history, [`version`] knows versions by their
//! content, [`contract`] speaks the JSON of the platform's other engines.

pub mod canonical;
pub mod conditions;
pub mod contract;
pub mod duration;
pub mod environment;
pub mod event;
pub mod names;
pub mod our_part;
pub mod promotion;
pub mod revision;
pub mod settings;
pub mod uid;
pub mod vault;
pub mod version;
