//! What kube lacks and every controller here needs.
//!
//! From the API server inwards: [`client`] speaks to it (timeouts, a short retry, counted requests, see [`requests`]);
//! [`watch`] keeps one watch per kind alive and feeds a [`cache`], which also takes what our own writes returned, so
//! that a reconcile always reads its own writes. Changes in a cache put keys ([`key`]) into a fair [`queue`], and what
//! fails comes back later ([`backoff`]). Of several processes one writes ([`leader`]). The loop that takes keys out again is [`crate::controller::run_loop`].

pub mod backoff;
pub mod cache;
pub mod client;
pub mod errors;
pub mod events;
pub mod interest;
pub mod key;
pub mod leader;
pub mod queue;
pub mod requests;
pub mod status;
pub mod watch;
