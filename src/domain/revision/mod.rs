//! History: how a revision is sealed, chained to the one before, and checked; what a whole history says.

pub mod chain;
pub mod history;
pub mod outcome;
pub mod record;
pub mod retention;

pub use history::History;
pub use record::RevisionRecord;
