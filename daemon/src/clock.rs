//! Time, injected: nothing but [`system_clock`] reads the machine's.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) type UnixMs = u64;

/// What tells the time.
pub(crate) type Clock = Box<dyn Fn() -> UnixMs + Send + Sync>;

/// The machine's clock; a time before the epoch is the epoch.
pub(crate) fn system_clock() -> Clock {
    Box::new(|| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    })
}
