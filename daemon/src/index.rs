//! Which chunks are stored and how they chain, in memory. Pure: no storage, no clock.
//!
//! Invariant: a chunk is present only with its whole chain, so the present chunks of a context are a prefix of it.
//! Only full chunks are continued.

mod room;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use kvdepot_proto::{ChunkId, Error, ErrorKind, Fingerprint, NamespaceKey, Result, chain};

pub(crate) use self::walk::LeafPosition;
use crate::clock::UnixMs;

/// Smallest id, to begin a range with.
const FIRST_ID: ChunkId = ChunkId::new([0; 32]);
/// Largest id, to end a range with.
const LAST_ID: ChunkId = ChunkId::new([0xff; 32]);

/// What the index knows of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkFacts {
    /// Name of the chunk.
    pub(crate) id: ChunkId,
    /// The chunk before it; the namespace's root for the first one.
    pub(crate) parent: ChunkId,
    /// Position of its first token; 0 for those that follow a root.
    pub(crate) start_token: u32,
    /// Tokens in it.
    pub(crate) num_tokens: u32,
    /// Bytes of its segments.
    pub(crate) stored_bytes: u64,
    /// Number of the put that wrote its segments.
    pub(crate) instance: u64,
    /// Spec of its KV.
    pub(crate) fingerprint: Fingerprint,
    /// When it was put, matched or fetched last.
    pub(crate) last_used: UnixMs,
}

impl ChunkFacts {
    /// Position after its last token.
    pub(crate) fn end_token(&self) -> u32 {
        self.start_token.saturating_add(self.num_tokens)
    }
}

/// The stored chunks, their tree, their order of use, and the bytes that they take.
#[derive(Debug)]
pub(crate) struct Index {
    chunk_tokens: u32,
    quota_bytes: Option<u64>,
    chunks: BTreeMap<ChunkId, ChunkFacts>,
    /// Parent, tokens of the child, child.
    children: BTreeSet<(ChunkId, u32, ChunkId)>,
    leaves: BTreeSet<(UnixMs, ChunkId)>,
    chunks_per_spec: BTreeMap<Fingerprint, u64>,
    /// Number of leases by chunk, present or announced.
    leases: BTreeMap<ChunkId, u32>,
    stored_bytes: u64,
    leased_bytes: u64,
    reserved_bytes: u64,
}

impl Index {
    /// An empty index of full chunks of `chunk_tokens` tokens, for at most `quota_bytes`.
    pub(crate) fn new(chunk_tokens: u32, quota_bytes: Option<u64>) -> Self {
        Self {
            chunk_tokens,
            quota_bytes,
            chunks: BTreeMap::new(),
            children: BTreeSet::new(),
            leaves: BTreeSet::new(),
            chunks_per_spec: BTreeMap::new(),
            leases: BTreeMap::new(),
            stored_bytes: 0,
            leased_bytes: 0,
            reserved_bytes: 0,
        }
    }

    /// Adds a chunk behind its parent; nothing changes when it is present.
    ///
    /// # Errors
    /// `Corrupt` when it does not follow a full chunk that is present, or has too many tokens.
    pub(crate) fn insert(&mut self, chunk: ChunkFacts) -> Result<()> {
        if self.chunks.contains_key(&chunk.id) {
            return Ok(());
        }
        self.check_link(&chunk)?;
        if let Some(parent) = self.chunks.get(&chunk.parent) {
            self.leaves.remove(&(parent.last_used, parent.id));
        }
        self.children.insert((chunk.parent, chunk.num_tokens, chunk.id));
        self.leaves.insert((chunk.last_used, chunk.id));
        *self.chunks_per_spec.entry(chunk.fingerprint).or_default() += 1;
        self.count_in(&chunk);
        self.chunks.insert(chunk.id, chunk);
        Ok(())
    }

    /// Takes a leaf out; `None` when it is not present or continued by another chunk.
    pub(crate) fn remove_leaf(&mut self, id: &ChunkId) -> Option<ChunkFacts> {
        if self.is_continued(id) {
            return None;
        }
        let chunk = self.chunks.remove(id)?;
        self.leaves.remove(&(chunk.last_used, chunk.id));
        self.children.remove(&(chunk.parent, chunk.num_tokens, chunk.id));
        if !self.is_continued(&chunk.parent)
            && let Some(parent) = self.chunks.get(&chunk.parent)
        {
            self.leaves.insert((parent.last_used, parent.id));
        }
        if let Some(count) = self.chunks_per_spec.get_mut(&chunk.fingerprint) {
            *count -= 1;
        }
        self.chunks_per_spec.retain(|_, count| *count > 0);
        self.count_out(&chunk);
        Some(chunk)
    }

    /// Ids of the longest stored prefix of `tokens`, in chain order.
    ///
    /// Full chunks are followed to the first missing one; there, the longest shorter chunk whose tokens come next is
    /// the last of the prefix.
    pub(crate) fn match_prefix(&self, key: &NamespaceKey, tokens: &[u32]) -> Vec<ChunkId> {
        let chunk_tokens = self.chunk_tokens as usize;
        let mut matched: Vec<ChunkId> = chain(key, tokens, chunk_tokens)
            .take_while(|chunk| chunk.num_tokens == chunk_tokens && self.contains(&chunk.id))
            .map(|chunk| chunk.id)
            .collect();
        let parent = matched.last().copied().unwrap_or_else(|| key.root());
        let rest = tokens.get(matched.len() * chunk_tokens..).unwrap_or_default();
        matched.extend(self.longest_short_child(key, &parent, rest));
        matched
    }

    /// Marks chunks as used at `now`.
    pub(crate) fn touch(&mut self, ids: &[ChunkId], now: UnixMs) {
        for id in ids {
            let Some(chunk) = self.chunks.get_mut(id) else { continue };
            let was_leaf = self.leaves.remove(&(chunk.last_used, *id));
            chunk.last_used = chunk.last_used.max(now);
            if was_leaf {
                self.leaves.insert((chunk.last_used, *id));
            }
        }
    }

    /// Whether the chunk is present.
    pub(crate) fn contains(&self, id: &ChunkId) -> bool {
        self.chunks.contains_key(id)
    }

    /// What is known of a chunk.
    pub(crate) fn chunk(&self, id: &ChunkId) -> Option<&ChunkFacts> {
        self.chunks.get(id)
    }

    /// Whether any chunk of the spec is present.
    pub(crate) fn has_spec(&self, fingerprint: &Fingerprint) -> bool {
        self.chunks_per_spec.contains_key(fingerprint)
    }

    /// Chunks present.
    pub(crate) fn num_chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Contexts present: chunks that no other continues.
    pub(crate) fn num_leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Bytes of the chunks present.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    fn check_link(&self, chunk: &ChunkFacts) -> Result<()> {
        let (id, found, limit) = (chunk.id, chunk.num_tokens, self.chunk_tokens);
        if found == 0 || found > limit {
            return Err(corrupt(format!("chunk {id} has {found} tokens, expected 1..={limit}")));
        }
        if chunk.start_token == 0 {
            return Ok(());
        }
        let parent = self.chunks.get(&chunk.parent).ok_or_else(|| {
            corrupt(format!("chunk {id} at token {} follows {}, which is not stored", chunk.start_token, chunk.parent))
        })?;
        if parent.end_token() != chunk.start_token || parent.num_tokens != limit {
            return Err(corrupt(format!(
                "chunk {id} at token {} follows a chunk of {} tokens that ends at {}",
                chunk.start_token,
                parent.num_tokens,
                parent.end_token()
            )));
        }
        Ok(())
    }

    fn longest_short_child(&self, key: &NamespaceKey, parent: &ChunkId, tokens: &[u32]) -> Option<ChunkId> {
        let longest = u32::try_from(tokens.len()).unwrap_or(u32::MAX).min(self.chunk_tokens - 1);
        let mut lengths = (*parent, 0, FIRST_ID)..=(*parent, longest, LAST_ID);
        while let Some(&(_, num_tokens, _)) = self.children.range(lengths.clone()).next_back() {
            let id = key.child(parent, tokens.get(..num_tokens as usize)?);
            if self.contains(&id) {
                return Some(id);
            }
            lengths = (*parent, 0, FIRST_ID)..=(*parent, num_tokens.checked_sub(1)?, LAST_ID);
        }
        None
    }
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
