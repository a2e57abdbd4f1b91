//! Ways through the tree of chunks.

use kvdepot_proto::ChunkId;

use super::{ChunkFacts, FIRST_ID, Index, LAST_ID};
use crate::clock::UnixMs;

/// A place in the order of contexts, least recently used first.
pub(crate) type LeafPosition = (UnixMs, ChunkId);

impl Index {
    /// The chunks from position 0 to `id`; empty when it is not present.
    pub(crate) fn chain_to(&self, id: &ChunkId) -> Vec<&ChunkFacts> {
        let last = self.chunks.get(id);
        let mut chain: Vec<_> = std::iter::successors(last, |chunk| self.chunks.get(&chunk.parent)).collect();
        chain.reverse();
        chain
    }

    /// The chunk and all that continue it, every chunk after its parent; empty when it is not present.
    pub(crate) fn subtree(&self, id: &ChunkId) -> Vec<ChunkId> {
        let mut found: Vec<ChunkId> = self.chunks.get(id).map(|chunk| chunk.id).into_iter().collect();
        let mut visited = 0;
        while let Some(parent) = found.get(visited).copied() {
            found.extend(self.children_of(&parent));
            visited += 1;
        }
        found
    }

    /// The leaf `id` and those of its ancestors that no other context shares, leaf first.
    pub(crate) fn unshared_chain(&self, id: &ChunkId) -> Vec<ChunkId> {
        let leaf = self.chunks.get(id).filter(|chunk| !self.is_continued(&chunk.id));
        let unshared = |chunk: &&ChunkFacts| {
            self.chunks.get(&chunk.parent).filter(|parent| self.children_of(&parent.id).nth(1).is_none())
        };
        std::iter::successors(leaf, unshared).map(|chunk| chunk.id).collect()
    }

    /// Chunks that directly continue `id`.
    pub(crate) fn children_of(&self, id: &ChunkId) -> impl Iterator<Item = ChunkId> {
        self.children.range((*id, 0, FIRST_ID)..=(*id, u32::MAX, LAST_ID)).map(|&(_, _, child)| child)
    }

    /// Whether any chunk continues `id`.
    pub(crate) fn is_continued(&self, id: &ChunkId) -> bool {
        self.children_of(id).next().is_some()
    }

    /// Leaves from `after` on, which is left out, least recently used first.
    pub(crate) fn leaves_after(&self, after: Option<LeafPosition>) -> impl Iterator<Item = LeafPosition> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.leaves.range((after.map_or(Unbounded, Excluded), Unbounded)).copied()
    }

    /// Ids from `first` to `last`, both included, in order.
    pub(crate) fn ids_between(&self, first: ChunkId, last: ChunkId) -> impl Iterator<Item = ChunkId> {
        self.chunks.range(first..=last).map(|(id, _)| *id)
    }

    /// Every chunk with the time of its last use.
    pub(crate) fn uses(&self) -> impl Iterator<Item = (ChunkId, UnixMs)> {
        self.chunks.values().map(|chunk| (chunk.id, chunk.last_used))
    }
}
