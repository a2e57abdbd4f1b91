//! Chunks that go: deleted, evicted or quarantined.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use kvdepot_proto::{ChunkId, Error, ErrorKind, Fingerprint, Result};

use super::Depot;
use crate::index::{ChunkFacts, Index};

/// What to delete, seen from a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The chunk, which must be a leaf, and its ancestors that no other context shares.
    Context,
    /// The chunk and every chunk that continues it.
    Subtree,
}

/// What a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// Chunks removed.
    pub(crate) chunks: u64,
    /// Bytes of those.
    pub(crate) bytes: u64,
}

impl Extent {
    /// Its chunks, children before parents.
    fn ids(self, index: &Index, id: &ChunkId) -> Vec<ChunkId> {
        match self {
            Self::Context => index.unshared_chain(id),
            Self::Subtree => index.subtree(id).into_iter().rev().collect(),
        }
    }
}

impl Depot {
    /// Deletes what the chunks name, leased or not; those that are not stored are passed over.
    ///
    /// # Errors
    /// `Invalid` when a context is named by a chunk that is no leaf, `Busy` when a transfer of a chunk is in progress.
    /// Nothing is deleted then.
    pub(crate) fn delete(&self, ids: &[ChunkId], extent: Extent) -> Result<Deleted> {
        let _turn = self.writer_turn();
        let index = self.index.lock();
        let named: Vec<ChunkId> = ids.iter().flat_map(|id| extent.ids(&index, id)).collect();
        drop(index);
        self.leases.end(&named);
        let mut removed = Vec::new();
        let mut index = self.index.lock();
        for id in ids {
            if let Err(error) = take_out(&mut index, id, extent, &mut removed) {
                restore(&mut index, removed);
                return Err(error);
            }
        }
        drop(index);
        let bytes = removed.iter().map(|chunk| chunk.stored_bytes).sum();
        let deleted = Deleted { chunks: removed.len() as u64, bytes };
        self.drop_from_store(removed)?;
        Ok(deleted)
    }

    /// Takes a chunk whose bytes are not what was put, and all that continue it, out of sight.
    ///
    /// What it is stored as is removed: another put may bring it back.
    pub(super) fn quarantine(&self, id: &ChunkId, reason: &Error) {
        let _turn = self.writer_turn();
        let mut index = self.index.lock();
        let removed: Vec<_> = index.subtree(id).iter().rev().filter_map(|id| index.remove_leaf(id)).collect();
        drop(index);
        if removed.is_empty() {
            return;
        }
        let chunks = removed.len() as u64;
        tracing::error!(chunk = %id, chunks, error = %reason, "quarantined a chunk and those that continue it");
        self.counters.quarantined_chunks.fetch_add(chunks, Ordering::Relaxed);
        let names: Vec<_> = removed.iter().map(|chunk| (chunk.id, chunk.instance)).collect();
        self.segments.forget(&names);
        if let Err(error) = self.store.remove(&names, &[]) {
            tracing::error!(chunk = %id, %error, "a quarantined chunk stays on disk until the next start");
        }
    }

    /// Removes from disk what eviction took out of the index. Call it in the writer's turn.
    pub(super) fn drop_evicted(&self, evicted: Vec<ChunkFacts>) -> Result<()> {
        if evicted.is_empty() {
            return Ok(());
        }
        let chunks = evicted.len() as u64;
        let freed_bytes: u64 = evicted.iter().map(|chunk| chunk.stored_bytes).sum();
        self.drop_from_store(evicted)?;
        self.counters.evicted_chunks.fetch_add(chunks, Ordering::Relaxed);
        tracing::info!(chunks, freed_bytes, "evicted");
        Ok(())
    }

    /// Evicts what exceeds a quota that was lowered since the last start.
    pub(super) fn fit_quota(&self) -> Result<()> {
        let _turn = self.writer_turn();
        let mut index = self.index.lock();
        let excess = index.excess();
        let evicted = index.evict(excess);
        drop(index);
        self.drop_evicted(evicted)
    }

    /// Removes chunks that are out of the index, and specs that none is left of; on failure they come back.
    fn drop_from_store(&self, removed: Vec<ChunkFacts>) -> Result<()> {
        let names: Vec<_> = removed.iter().map(|chunk| (chunk.id, chunk.instance)).collect();
        self.segments.forget(&names);
        let unused = self.unused_specs(&removed);
        if let Err(error) = self.store.remove(&names, &unused) {
            restore(&mut self.index.lock(), removed);
            return Err(error);
        }
        self.specs().retain(|fingerprint, _| !unused.contains(fingerprint));
        Ok(())
    }

    fn unused_specs(&self, removed: &[ChunkFacts]) -> Vec<Fingerprint> {
        let index = self.index.lock();
        let touched: BTreeSet<_> = removed.iter().map(|chunk| chunk.fingerprint).collect();
        touched.into_iter().filter(|fingerprint| !index.has_spec(fingerprint)).collect()
    }
}

fn take_out(index: &mut Index, id: &ChunkId, extent: Extent, removed: &mut Vec<ChunkFacts>) -> Result<()> {
    if extent == Extent::Context && index.is_continued(id) {
        let message = format!("chunk {id} is continued by {} chunks, so it is no context", index.subtree(id).len() - 1);
        return Err(Error::invalid(message));
    }
    let ids = extent.ids(index, id);
    if let Some(leased) = ids.iter().find(|id| index.is_leased(id)) {
        return Err(Error::new(ErrorKind::Busy, format!("a transfer of chunk {leased} is in progress")));
    }
    removed.extend(ids.iter().filter_map(|id| index.remove_leaf(id)));
    Ok(())
}

/// Puts back what was taken out, parents before children.
fn restore(index: &mut Index, removed: Vec<ChunkFacts>) {
    for chunk in removed.into_iter().rev() {
        if let Err(error) = index.insert(chunk) {
            tracing::error!(%error, "a chunk is out of the index until the next start");
        }
    }
}
