//! Claims on the index that end when they are dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvdepot_proto::{ChunkId, Result};

use crate::index::{ChunkFacts, Index};

/// The index, shared with the claims on it.
#[derive(Clone)]
pub(super) struct SharedIndex(Arc<Mutex<Index>>);

impl SharedIndex {
    pub(super) fn new(index: Index) -> Self {
        Self(Arc::new(Mutex::new(index)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps chunks from eviction and deletion, present or announced.
pub(super) struct Lease {
    index: SharedIndex,
    ids: Vec<ChunkId>,
}

impl Lease {
    /// Leases the chunks that `find` names, in one step.
    pub(super) fn take(index: &SharedIndex, find: impl FnOnce(&Index) -> Vec<ChunkId>) -> Self {
        let mut locked = index.lock();
        let ids = find(&locked);
        locked.lease(&ids);
        drop(locked);
        Self { index: index.clone(), ids }
    }

    pub(super) fn ids(&self) -> &[ChunkId] {
        &self.ids
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.index.lock().release(&self.ids);
    }
}

/// Keeps bytes of the quota for a put.
pub(super) struct Reservation {
    index: SharedIndex,
    bytes: u64,
}

impl Reservation {
    /// Reserves `bytes`; gives also the chunks that had to go, which are still on disk.
    pub(super) fn take(index: &SharedIndex, bytes: u64) -> Result<(Self, Vec<ChunkFacts>)> {
        let evicted = index.lock().reserve(bytes)?;
        Ok((Self { index: index.clone(), bytes }, evicted))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.index.lock().unreserve(self.bytes);
    }
}
