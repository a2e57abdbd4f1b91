//! Bytes: quota, reservations, leases and eviction.
//!
//! Invariant: stored and reserved bytes together never exceed the quota. A lease covers a whole chain, so a chunk
//! without a lease has no leased descendant and everything that is not leased can be evicted, leaves first.

use std::collections::btree_map::Entry;

use kvdepot_proto::{ChunkId, Error, ErrorKind, Result};

use super::{ChunkFacts, Index};

impl Index {
    /// Keeps chunks from eviction, present or announced, until as many [`release`](Self::release)s.
    pub(crate) fn lease(&mut self, ids: &[ChunkId]) {
        for id in ids {
            let count = self.leases.entry(*id).or_default();
            *count += 1;
            if *count == 1 {
                self.leased_bytes += self.chunks.get(id).map_or(0, |chunk| chunk.stored_bytes);
            }
        }
    }

    /// Takes back one [`lease`](Self::lease) of each chunk.
    pub(crate) fn release(&mut self, ids: &[ChunkId]) {
        for id in ids {
            let Entry::Occupied(mut count) = self.leases.entry(*id) else { continue };
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
                self.leased_bytes -= self.chunks.get(id).map_or(0, |chunk| chunk.stored_bytes);
            }
        }
    }

    /// Whether a transfer of the chunk is in progress.
    pub(crate) fn is_leased(&self, id: &ChunkId) -> bool {
        self.leases.contains_key(id)
    }

    /// Reserves `bytes`; gives the least recently used chunks that it took out to make room, children before parents.
    ///
    /// # Errors
    /// `Busy` when they do not fit, with nothing changed.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<Vec<ChunkFacts>> {
        let excess = self.excess_with(bytes)?;
        let evicted = self.evict(excess);
        self.reserved_bytes = self.reserved_bytes.saturating_add(bytes);
        Ok(evicted)
    }

    /// Takes back a [`reserve`](Self::reserve) of as many bytes.
    pub(crate) fn unreserve(&mut self, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
    }

    /// Takes out least recently used leaves until `bytes` are free, or nothing can be evicted.
    pub(crate) fn evict(&mut self, bytes: u64) -> Vec<ChunkFacts> {
        let mut evicted = Vec::new();
        let mut freed = 0u64;
        while freed < bytes {
            let Some(chunk) = self.next_victim().and_then(|id| self.remove_leaf(&id)) else { break };
            freed = freed.saturating_add(chunk.stored_bytes);
            evicted.push(chunk);
        }
        evicted
    }

    /// Bytes above the quota as things stand.
    pub(crate) fn excess(&self) -> u64 {
        self.quota_bytes.map_or(0, |quota| self.claimed_bytes().saturating_sub(quota))
    }

    /// Bytes of chunks that are kept from eviction.
    pub(crate) fn leased_bytes(&self) -> u64 {
        self.leased_bytes
    }

    /// Bytes of puts in progress.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    pub(super) fn count_in(&mut self, chunk: &ChunkFacts) {
        self.stored_bytes += chunk.stored_bytes;
        if self.is_leased(&chunk.id) {
            self.leased_bytes += chunk.stored_bytes;
        }
    }

    pub(super) fn count_out(&mut self, chunk: &ChunkFacts) {
        self.stored_bytes -= chunk.stored_bytes;
        if self.is_leased(&chunk.id) {
            self.leased_bytes -= chunk.stored_bytes;
        }
    }

    fn claimed_bytes(&self) -> u64 {
        self.stored_bytes.saturating_add(self.reserved_bytes)
    }

    fn excess_with(&self, bytes: u64) -> Result<u64> {
        let Some(quota) = self.quota_bytes else { return Ok(0) };
        let in_use = self.leased_bytes.saturating_add(self.reserved_bytes);
        if in_use.saturating_add(bytes) > quota {
            return Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "context needs {bytes} bytes, quota is {quota}, of which {in_use} are in use by transfers in progress"
                ),
            ));
        }
        Ok(self.claimed_bytes().saturating_add(bytes).saturating_sub(quota))
    }

    fn next_victim(&self) -> Option<ChunkId> {
        self.leaves.iter().map(|&(_, id)| id).find(|id| !self.is_leased(id))
    }
}
