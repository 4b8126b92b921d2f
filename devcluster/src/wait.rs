//! Waiting for conditions.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How long to pause between two looks. Short against the servers' own delays, long against the cost of a look.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again until `look` returns a value, at most for `limit`.
///
/// `what` names the condition for the error: "waited 30 s in vain for {what}". An error from `look` ends the wait at
/// once: return `Ok(None)` for what may still come right.
///
/// ```
/// use std::time::Duration;
///
/// let mut looks = 0;
/// let third = devcluster::wait_until("the third look", Duration::from_secs(5), || {
///     looks += 1;
///     Ok((looks == 3).then_some(looks))
/// })?;
/// assert_eq!(third, 3);
/// # Ok::<(), devcluster::Error>(())
/// ```
pub fn wait_until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            return Err(Error::Timeout { what: what.to_owned(), seconds: limit.as_secs() });
        }
        std::thread::sleep(PAUSE);
    }
}
