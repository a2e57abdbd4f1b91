//! What attention takes, counted while it runs: benchmarks hold it against what the machine can do.

use std::ops::{AddAssign, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Work of attention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttentionWork {
    /// Time in it, over all layers.
    pub elapsed: Duration,
    /// Bytes of keys and values that it read: a page counts once for all rows that are stacked over it.
    pub kv_bytes: u64,
}

/// Running totals.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    nanos: AtomicU64,
    kv_bytes: AtomicU64,
}

impl Meter {
    pub(crate) fn count(&self, work: AttentionWork) {
        self.nanos.fetch_add(work.elapsed.as_nanos() as u64, Ordering::Relaxed);
        self.kv_bytes.fetch_add(work.kv_bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> AttentionWork {
        AttentionWork {
            elapsed: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            kv_bytes: self.kv_bytes.load(Ordering::Relaxed),
        }
    }
}

/// What came between two readings.
impl Sub for AttentionWork {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { elapsed: self.elapsed - earlier.elapsed, kv_bytes: self.kv_bytes - earlier.kv_bytes }
    }
}

impl AddAssign for AttentionWork {
    fn add_assign(&mut self, more: Self) {
        self.elapsed += more.elapsed;
        self.kv_bytes += more.kv_bytes;
    }
}
