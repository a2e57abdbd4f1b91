//! Leases that callers ask for: what they are going to fetch is kept from eviction for a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvdepot_proto::{ChunkId, limits};

use super::claims::Lease;
use super::{Depot, StoredPrefix};
use crate::clock::UnixMs;

/// Leases in force, by the time at which they end.
#[derive(Default)]
pub(super) struct Leases(Mutex<BTreeMap<(UnixMs, u64), Lease>>);

impl Leases {
    /// Ends those whose time is over.
    pub(super) fn expire(&self, now: UnixMs) {
        let mut leases = self.lock();
        let in_force = leases.split_off(&(now.saturating_add(1), 0));
        let over = std::mem::replace(&mut *leases, in_force);
        // Ending them takes the index.
        drop(leases);
        drop(over);
    }

    /// Ends those of any of these chunks.
    pub(super) fn end(&self, ids: &[ChunkId]) {
        let mut leases = self.lock();
        let is_of_them = |(_, lease): &(_, Lease)| lease.ids().iter().any(|id| ids.contains(id));
        let (over, in_force): (BTreeMap<_, _>, _) = std::mem::take(&mut *leases).into_iter().partition(is_of_them);
        *leases = in_force;
        drop(leases);
        drop(over);
    }

    fn keep(&self, lease: Lease, until: UnixMs) -> bool {
        let mut leases = self.lock();
        if leases.len() >= limits::MAX_LEASES {
            return false;
        }
        let next = leases.range((until, 0)..=(until, u64::MAX)).next_back().map_or(0, |((_, number), _)| number + 1);
        leases.insert((until, next), lease);
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(UnixMs, u64), Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Depot {
    /// Keeps a prefix from eviction for a while; gives for how long. Not at all where leases would keep half of the quota, or are
    /// too many: whoever asks computes what is gone by then.
    pub(crate) fn keep_leased(&self, prefix: StoredPrefix, wanted: Duration) -> Duration {
        let now = (self.clock)();
        self.leases.expire(now);
        let lasts = wanted.min(limits::MAX_LEASE);
        let leased_bytes = self.index.lock().leased_bytes();
        let is_too_much = self.quota_bytes.is_some_and(|quota| leased_bytes > quota / 2);
        if lasts.is_zero() || prefix.chunks.is_empty() || is_too_much {
            return Duration::ZERO;
        }
        let until = now.saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        if self.leases.keep(prefix.lease, until) { lasts } else { Duration::ZERO }
    }
}
