//! What is in the depot, for operators.

use std::sync::atomic::Ordering;

use kvdepot_codec::Level;
use kvdepot_proto::{ChunkId, Error, ErrorKind, Fingerprint, Manifest, Result};

use super::Depot;
use super::fetch::manifest;
use crate::clock::UnixMs;
use crate::index::LeafPosition;
use crate::store::ChunkRow;

/// How full the depot is, and what it did since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) chunks: u64,
    pub(crate) contexts: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) matches: u64,
    pub(crate) asked_tokens: u64,
    pub(crate) matched_tokens: u64,
    pub(crate) evicted_chunks: u64,
    pub(crate) quarantined_chunks: u64,
    pub(crate) segment_reads: u64,
    pub(crate) cached_bytes: u64,
}

/// A stored chunk in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkStat {
    pub(crate) stored_bytes: u64,
    pub(crate) num_tokens: u32,
}

/// A context: the chain that ends in one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextSummary {
    pub(crate) chunk_id: ChunkId,
    pub(crate) model: String,
    pub(crate) namespace: String,
    pub(crate) num_tokens: u32,
    pub(crate) num_chunks: u32,
    pub(crate) stored_bytes: u64,
    pub(crate) raw_kv_bytes: u64,
    pub(crate) level: Level,
    pub(crate) created: UnixMs,
    pub(crate) last_used: UnixMs,
}

/// Some contexts, and where the next page begins.
pub(crate) struct ContextPage {
    pub(crate) contexts: Vec<ContextSummary>,
    pub(crate) next: Option<LeafPosition>,
}

/// One chunk with the chain that leads to it.
pub(crate) struct Inspection {
    pub(crate) context: ContextSummary,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) manifest: Manifest,
    pub(crate) is_leaf: bool,
}

/// Ids from `first` to `last`, both included: those with a common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdPrefix {
    pub(crate) first: ChunkId,
    pub(crate) last: ChunkId,
}

impl Depot {
    /// Counts.
    pub(crate) fn usage(&self) -> Usage {
        let index = self.index.lock();
        let counters = &self.counters;
        Usage {
            chunks: index.num_chunks() as u64,
            contexts: index.num_leaves() as u64,
            stored_bytes: index.stored_bytes(),
            quota_bytes: self.quota_bytes,
            matches: counters.matches.load(Ordering::Relaxed),
            asked_tokens: counters.asked_tokens.load(Ordering::Relaxed),
            matched_tokens: counters.matched_tokens.load(Ordering::Relaxed),
            evicted_chunks: counters.evicted_chunks.load(Ordering::Relaxed),
            quarantined_chunks: counters.quarantined_chunks.load(Ordering::Relaxed),
            segment_reads: self.segments.reads(),
            cached_bytes: self.segments.held_bytes(),
        }
    }

    /// One entry per id, in order; `None` for chunks that are not stored.
    pub(crate) fn stat(&self, ids: &[ChunkId]) -> Vec<Option<ChunkStat>> {
        let index = self.index.lock();
        let stat = |id| {
            let chunk = index.chunk(id)?;
            Some(ChunkStat { stored_bytes: chunk.stored_bytes, num_tokens: chunk.num_tokens })
        };
        ids.iter().map(stat).collect()
    }

    /// At most `limit` contexts after a position, least recently used first.
    pub(crate) fn list(&self, after: Option<LeafPosition>, limit: usize) -> Result<ContextPage> {
        let mut leaves: Vec<_> = self.index.lock().leaves_after(after).take(limit.saturating_add(1)).collect();
        let has_more = leaves.len() > limit;
        leaves.truncate(limit);
        let next = leaves.last().copied().filter(|_| has_more);
        let ids: Vec<_> = leaves.iter().map(|(_, id)| *id).collect();
        let rows = ids.iter().zip(self.store.chunk_rows(&ids)?);
        // A context that goes away or does not read meanwhile is left out.
        let contexts = rows.filter_map(|(id, row)| self.summary(id, &row.ok()?).ok()).collect();
        Ok(ContextPage { contexts, next })
    }

    /// The one chunk whose id has a prefix.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Invalid` when there are several.
    pub(crate) fn inspect(&self, prefix: IdPrefix) -> Result<Inspection> {
        let found: Vec<_> = self.index.lock().ids_between(prefix.first, prefix.last).take(2).collect();
        let id = match found.as_slice() {
            [id] => id,
            [] => return Err(Error::new(ErrorKind::NotFound, "no stored chunk has this id")),
            _ => return Err(Error::invalid("more than one stored chunk has this id: give more digits")),
        };
        let (spec, chain) = self.stored_chain(id, None)?;
        let last = chain.chunks.last().map(|(_, row)| row);
        let row = last.ok_or_else(|| Error::new(ErrorKind::Internal, format!("chain to chunk {id} is empty")))?;
        Ok(Inspection {
            context: self.summary(id, row)?,
            fingerprint: row.fingerprint,
            manifest: manifest(spec, &chain.chunks),
            is_leaf: !self.index.lock().is_continued(id),
        })
    }

    fn summary(&self, id: &ChunkId, row: &ChunkRow) -> Result<ContextSummary> {
        let spec = self.spec(&row.fingerprint)?;
        let index = self.index.lock();
        let chain = index.chain_to(id);
        let num_tokens = row.start_token.saturating_add(row.num_tokens());
        Ok(ContextSummary {
            chunk_id: *id,
            namespace: row.namespace.clone(),
            num_tokens,
            num_chunks: u32::try_from(chain.len()).unwrap_or(u32::MAX),
            stored_bytes: chain.iter().map(|chunk| chunk.stored_bytes).sum(),
            raw_kv_bytes: spec.geometry.kv_bytes(num_tokens as usize) as u64,
            level: row.content.level,
            created: row.created,
            last_used: chain.last().map_or(row.created, |chunk| chunk.last_used),
            model: spec.model,
        })
    }
}
