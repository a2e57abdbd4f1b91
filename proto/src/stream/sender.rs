//! The depot's side of a fetch: which batch comes next, and which are wanted no longer.

use std::collections::{BTreeMap, VecDeque};

use super::{Batch, Held, SegmentRef, SendOrder, Wants, batches};
use crate::{ChunkContent, limits};

/// Names a batch of a fetch; earlier ones have smaller numbers.
pub type BatchId = u32;

/// No batch is begun while this much is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendWindow {
    /// Batches.
    pub batches: usize,
    /// Bytes of their segments.
    pub bytes: u64,
}

impl Default for SendWindow {
    fn default() -> Self {
        Self { batches: limits::MAX_FETCH_BATCHES, bytes: limits::FETCH_AHEAD_BYTES }
    }
}

/// What is left to send of a fetch.
#[derive(Debug)]
pub struct FetchSender {
    waiting: VecDeque<(BatchId, Batch)>,
    under_way: BTreeMap<BatchId, UnderWay>,
    held: Held,
    wants: Wants,
    window: SendWindow,
}

#[derive(Debug)]
struct UnderWay {
    batch: Batch,
    batch_bytes: u64,
}

impl FetchSender {
    /// Of a manifest with these chunks, what `wants` has, in `order`.
    pub fn new(order: SendOrder, chunks: &[&ChunkContent], wants: Wants) -> Self {
        Self {
            waiting: (0..).zip(batches(order, chunks)).collect(),
            under_way: BTreeMap::new(),
            held: Held::default(),
            wants,
            window: SendWindow::default(),
        }
    }

    /// The same without what the receiver holds.
    #[must_use]
    pub fn without(self, held: Held) -> Self {
        Self { held, ..self }
    }

    /// The same with another window.
    #[must_use]
    pub fn within(self, window: SendWindow) -> Self {
        Self { window, ..self }
    }

    /// The next batch to read and send, with those of its segments that are to be sent, at least one. Nothing while the window
    /// is full.
    pub fn next_batch(&mut self, chunks: &[&ChunkContent]) -> Option<(BatchId, Vec<SegmentRef>)> {
        while self.has_room() {
            let (id, batch) = self.waiting.pop_front()?;
            let due = batch.segments(chunks, &self.held).filter(|(segment, _)| self.wants.wants(*segment));
            let (segments, bytes): (Vec<SegmentRef>, Vec<u64>) = due.unzip();
            if !segments.is_empty() {
                let batch_bytes = bytes.into_iter().fold(0, u64::saturating_add);
                self.under_way.insert(id, UnderWay { batch, batch_bytes });
                return Some((id, segments));
            }
        }
        None
    }

    /// Takes wants back; gives the batches under way that nobody wants any more, which are to be reset.
    pub fn adjust(&mut self, first_chunk: u32, max_qualities: u8, chunks: &[&ChunkContent]) -> Vec<BatchId> {
        if !self.wants.adjust(first_chunk, max_qualities) {
            return Vec::new();
        }
        let is_unwanted = |batch: &Batch| self.is_unwanted(batch, chunks);
        let unwanted = self.under_way.iter().filter(|(_, under_way)| is_unwanted(&under_way.batch));
        let reset: Vec<BatchId> = unwanted.map(|(id, _)| *id).collect();
        reset.iter().for_each(|id| _ = self.under_way.remove(id));
        reset
    }

    /// Takes note that the receiver has all of a batch.
    pub fn sent(&mut self, id: BatchId) {
        self.under_way.remove(&id);
    }

    /// Bytes of the batches under way: at most the window and one batch more.
    pub fn bytes_under_way(&self) -> u64 {
        self.under_way.values().fold(0, |sum, batch| sum.saturating_add(batch.batch_bytes))
    }

    /// Whether all that is wanted was sent.
    pub fn is_done(&self, chunks: &[&ChunkContent]) -> bool {
        self.under_way.is_empty() && self.waiting.iter().all(|(_, batch)| self.is_unwanted(batch, chunks))
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.window.batches && self.bytes_under_way() < self.window.bytes
    }

    fn is_unwanted(&self, batch: &Batch, chunks: &[&ChunkContent]) -> bool {
        !batch.segments(chunks, &self.held).any(|(segment, _)| self.wants.wants(segment))
    }
}

#[cfg(test)]
mod tests {
    use kvdepot_codec::{Level, SegmentKey, Side};
    use proptest::prelude::*;

    use super::*;
    use crate::{ChunkEntry, ChunkId, SegmentEntry};

    fn chunk(level: Level) -> ChunkEntry {
        ChunkEntry { id: ChunkId::new([0; 32]), start_token: 0, num_tokens: 1, content: content(level), instance: 1 }
    }

    /// What a receiver has, by chunk and position.
    fn held_of(chunks: &[ChunkEntry], has: &[(u32, usize)]) -> Held {
        let mut held = Held::default();
        for &(chunk_idx, position) in has {
            let entry = chunks.get(chunk_idx as usize).and_then(|chunk| chunk.content.segments.get(position));
            entry.into_iter().for_each(|entry| held.insert(chunks, SegmentRef { chunk_idx, key: entry.key }));
        }
        held
    }

    /// Where a segment is in its chunk.
    fn position(chunks: &[ChunkEntry], segment: SegmentRef) -> usize {
        let chunk = chunks.get(segment.chunk_idx as usize);
        let position = chunk.and_then(|chunk| chunk.content.segments.iter().position(|entry| entry.key == segment.key));
        position.expect("a segment of the manifest")
    }

    fn bytes_of(num_segments: usize) -> u64 {
        5u64.saturating_mul(num_segments as u64)
    }

    fn content(level: Level) -> ChunkContent {
        let key = |(layer_group, side, quality)| SegmentKey { quality, layer_group, side };
        let names = (0..3u16).flat_map(|group| Side::BOTH.map(|side| (group, side)));
        let names =
            names.flat_map(|(group, side)| (0..level.qualities(side)).map(move |quality| (group, side, quality)));
        ChunkContent { level, segments: names.map(|name| SegmentEntry { key: key(name), segment_bytes: 5 }).collect() }
    }

    proptest! {
        /// Whatever the receiver holds and takes back, and whenever: all that it wanted to the end was sent once, nothing that it
        /// holds was, no more was under way than the window has, and the sender ends.
        #[test]
        fn what_stays_wanted_is_sent_once(
            order in prop::sample::select(vec![
                SendOrder::Chunks, SendOrder::ChunksFromBack, SendOrder::BaseFirstFromBack, SendOrder::Layers,
            ]),
            levels in prop::collection::vec(prop::sample::select(vec![Level::Q0, Level::Q3]), 0..6),
            adjusts in prop::collection::vec((0u32..7, 0u8..4, 1usize..4), 0..8),
            has in prop::collection::vec((0u32..6, 0usize..15), 0..40),
            window in (1usize..5, 1u64..100),
        ) {
            let entries: Vec<ChunkEntry> = levels.into_iter().map(chunk).collect();
            let chunks: Vec<&ChunkContent> = entries.iter().map(|entry| &entry.content).collect();
            let held = held_of(&entries, &has);
            let window = SendWindow { batches: window.0, bytes: window.1 };
            let sender = FetchSender::new(order, &chunks, Wants::default());
            let mut sender = sender.without(held.clone()).within(window);
            let (mut under_way, mut arrived) = (BTreeMap::new(), Vec::new());
            let mut wants = Wants::default();
            let mut adjusts = adjusts.into_iter();
            loop {
                let adjust = adjusts.next();
                let mut is_idle = adjust.is_none();
                for _ in 0..adjust.map_or(1, |(.., batches)| batches) {
                    if let Some((id, segments)) = sender.next_batch(&chunks) {
                        is_idle = false;
                        prop_assert!(segments.iter().all(|segment| wants.wants(*segment)));
                        let is_held = |segment: &SegmentRef| has.contains(&(segment.chunk_idx, position(&entries, *segment)));
                        prop_assert!(!segments.iter().any(is_held));
                        let other_bytes = sender.bytes_under_way().saturating_sub(bytes_of(segments.len()));
                        prop_assert!(under_way.len() < window.batches && other_bytes < window.bytes);
                        under_way.insert(id, segments);
                    }
                }
                if let Some((first_chunk, max_qualities, _)) = adjust {
                    wants.adjust(first_chunk, max_qualities);
                    for id in sender.adjust(first_chunk, max_qualities, &chunks) {
                        let reset = under_way.remove(&id).expect("a batch under way");
                        prop_assert!(!reset.iter().any(|segment| wants.wants(*segment)));
                    }
                }
                match under_way.pop_first() {
                    Some((id, segments)) => {
                        sender.sent(id);
                        arrived.extend(segments);
                    }
                    None if is_idle => break,
                    None => {}
                }
            }
            prop_assert!(sender.is_done(&chunks));
            let mut all: Vec<SegmentRef> = Vec::new();
            for batch in batches(order, &chunks) {
                let segments = batch.segments(&chunks, &held).map(|(segment, _)| segment);
                all.extend(segments.filter(|segment| wants.wants(*segment)));
            }
            let count = |segments: &[SegmentRef], which: &SegmentRef| segments.iter().filter(|it| *it == which).count();
            prop_assert!(all.iter().all(|segment| count(&arrived, segment) == 1));
            prop_assert!(arrived.iter().all(|segment| count(&arrived, segment) == 1));
        }
    }
}
