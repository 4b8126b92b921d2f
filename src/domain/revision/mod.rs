//! History: how a revision is sealed, chained to the one before, and checked.

pub mod chain;
pub mod record;

pub use record::RevisionRecord;
