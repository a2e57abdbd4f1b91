//! The depot's side of a fetch: which batch comes next, and which are wanted no longer.

use std::collections::{BTreeMap, VecDeque};

use super::{Batch, SegmentRef, SendOrder, Wants, batches};
use crate::ChunkContent;

/// Names a batch of a fetch; earlier ones have smaller numbers.
pub type BatchId = u32;

/// What is left to send of a fetch.
#[derive(Debug)]
pub struct FetchSender {
    waiting: VecDeque<(BatchId, Batch)>,
    sending: BTreeMap<BatchId, Batch>,
    wants: Wants,
}

impl FetchSender {
    /// Of a manifest with these chunks, what `wants` has, in `order`.
    pub fn new(order: SendOrder, chunks: &[&ChunkContent], wants: Wants) -> Self {
        Self { waiting: (0..).zip(batches(order, chunks)).collect(), sending: BTreeMap::new(), wants }
    }

    /// The next batch to read and send, with those of its segments that are wanted: at least one.
    pub fn next_batch(&mut self, chunks: &[&ChunkContent]) -> Option<(BatchId, Vec<SegmentRef>)> {
        while let Some((id, batch)) = self.waiting.pop_front() {
            let segments: Vec<SegmentRef> =
                batch.segments(chunks).filter(|segment| self.wants.wants(*segment)).collect();
            if !segments.is_empty() {
                self.sending.insert(id, batch);
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
        let unwanted = |batch: &Batch| !batch.segments(chunks).any(|segment| self.wants.wants(segment));
        let reset: Vec<BatchId> = self.sending.iter().filter(|(_, batch)| unwanted(batch)).map(|(id, _)| *id).collect();
        reset.iter().for_each(|id| _ = self.sending.remove(id));
        reset
    }

    /// Takes note that a batch was sent.
    pub fn sent(&mut self, id: BatchId) {
        self.sending.remove(&id);
    }

    /// Whether all that is wanted was sent.
    pub fn is_done(&self, chunks: &[&ChunkContent]) -> bool {
        let wanted = |(_, batch): &(BatchId, Batch)| batch.segments(chunks).any(|segment| self.wants.wants(segment));
        self.sending.is_empty() && !self.waiting.iter().any(wanted)
    }
}

#[cfg(test)]
mod tests {
    use kvdepot_codec::{Level, SegmentKey, Side};
    use proptest::prelude::*;

    use super::*;
    use crate::SegmentEntry;

    fn content(level: Level) -> ChunkContent {
        let key = |(layer_group, side, quality)| SegmentKey { quality, layer_group, side };
        let names = (0..3u16).flat_map(|group| Side::BOTH.map(|side| (group, side)));
        let names =
            names.flat_map(|(group, side)| (0..level.qualities(side)).map(move |quality| (group, side, quality)));
        ChunkContent { level, segments: names.map(|name| SegmentEntry { key: key(name), segment_bytes: 5 }).collect() }
    }

    proptest! {
        /// Whatever the receiver takes back, and whenever: all that it wanted to the end was sent once, and the sender ends.
        #[test]
        fn what_stays_wanted_is_sent_once(
            order in prop::sample::select(vec![
                SendOrder::Chunks, SendOrder::ChunksFromBack, SendOrder::BaseFirstFromBack, SendOrder::Layers,
            ]),
            levels in prop::collection::vec(prop::sample::select(vec![Level::Q0, Level::Q3]), 0..6),
            adjusts in prop::collection::vec((0u32..7, 0u8..4, 1usize..4), 0..8),
        ) {
            let contents: Vec<ChunkContent> = levels.into_iter().map(content).collect();
            let chunks: Vec<&ChunkContent> = contents.iter().collect();
            let mut sender = FetchSender::new(order, &chunks, Wants::default());
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
                all.extend(batch.segments(&chunks).filter(|segment| wants.wants(*segment)));
            }
            let count = |segments: &[SegmentRef], which: &SegmentRef| segments.iter().filter(|it| *it == which).count();
            prop_assert!(all.iter().all(|segment| count(&arrived, segment) == 1));
            prop_assert!(arrived.iter().all(|segment| count(&arrived, segment) == 1));
        }
    }
}
