//! The order in which the segments of a fetch are sent: `STREAM.md`, "Order".

use std::collections::BTreeSet;
use std::ops::Range;

use kvdepot_codec::{Level, SegmentKey};

use super::Held;
use crate::{ChunkContent, Error, ErrorKind, ReceivedSegment, Result, SegmentEntry, v1};

/// In which order segments are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendOrder {
    /// Chunk by chunk from the first one, each with all its quality layers.
    #[default]
    Chunks,
    /// Chunk by chunk from the last one, each with all its quality layers.
    ChunksFromBack,
    /// The base of all chunks from the last one, then the next quality layer of all, and so on.
    BaseFirstFromBack,
    /// Layer group by layer group from the first one, each with all its quality layers, of all chunks.
    Layers,
}

impl TryFrom<i32> for SendOrder {
    type Error = Error;

    fn try_from(code: i32) -> Result<Self> {
        match v1::SendOrder::try_from(code) {
            Ok(v1::SendOrder::Chunks) => Ok(Self::Chunks),
            Ok(v1::SendOrder::ChunksFromBack) => Ok(Self::ChunksFromBack),
            Ok(v1::SendOrder::BaseFirstFromBack) => Ok(Self::BaseFirstFromBack),
            Ok(v1::SendOrder::Layers) => Ok(Self::Layers),
            Err(_) => Err(Error::new(ErrorKind::Incompatible, format!("unknown order {code} of a fetch"))),
        }
    }
}

impl From<SendOrder> for v1::SendOrder {
    fn from(order: SendOrder) -> Self {
        match order {
            SendOrder::Chunks => Self::Chunks,
            SendOrder::ChunksFromBack => Self::ChunksFromBack,
            SendOrder::BaseFirstFromBack => Self::BaseFirstFromBack,
            SendOrder::Layers => Self::Layers,
        }
    }
}

/// A segment of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentRef {
    /// Index of its chunk in the manifest.
    pub chunk_idx: u32,
    /// Name inside its chunk.
    pub key: SegmentKey,
}

impl From<&ReceivedSegment> for SegmentRef {
    fn from(segment: &ReceivedSegment) -> Self {
        Self { chunk_idx: segment.chunk_idx, key: segment.key }
    }
}

/// The runs of segments of the same chunk.
pub fn by_chunk(segments: &[SegmentRef]) -> impl Iterator<Item = (u32, Vec<SegmentKey>)> {
    segments.chunk_by(|a, b| a.chunk_idx == b.chunk_idx).filter_map(|of_chunk| {
        let keys = of_chunk.iter().map(|segment| segment.key).collect();
        Some((of_chunk.first()?.chunk_idx, keys))
    })
}

/// Segments that are sent on one stream: some quality layers of a chunk, or of a layer group of all chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The chunks.
    pub chunks: Range<u32>,
    /// The quality layers.
    pub qualities: Range<u8>,
    /// The layer group, where it is not all of them.
    pub layer_group: Option<u16>,
}

impl Batch {
    /// The segments that are not held, in order: by chunk, then quality layer, layer group and side. With each its bytes.
    pub fn segments<'a>(
        &'a self,
        chunks: &'a [&ChunkContent],
        held: &'a Held,
    ) -> impl Iterator<Item = (SegmentRef, u64)> + 'a {
        self.chunks.clone().flat_map(move |chunk_idx| {
            let content = chunks.get(chunk_idx as usize);
            let mut segments: Vec<SegmentEntry> = content
                .into_iter()
                .flat_map(|content| content.segments.iter().enumerate())
                .filter(|(position, segment)| self.has(segment.key) && !held.has(chunk_idx, *position))
                .map(|(_, segment)| *segment)
                .collect();
            segments.sort_unstable_by_key(|segment| segment.key);
            segments
                .into_iter()
                .map(move |SegmentEntry { key, segment_bytes }| (SegmentRef { chunk_idx, key }, segment_bytes))
        })
    }

    fn has(&self, key: SegmentKey) -> bool {
        self.qualities.contains(&key.quality) && self.layer_group.is_none_or(|group| group == key.layer_group)
    }
}

/// The batches of a fetch of these chunks, the first one first. None is empty.
pub fn batches(order: SendOrder, chunks: &[&ChunkContent]) -> Vec<Batch> {
    let num_chunks = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let whole = |chunk_idx: u32| Batch {
        chunks: chunk_idx..chunk_idx.saturating_add(1),
        qualities: 0..Level::MAX_QUALITIES,
        layer_group: None,
    };
    match order {
        SendOrder::Chunks => (0..num_chunks).map(whole).collect(),
        SendOrder::ChunksFromBack => (0..num_chunks).rev().map(whole).collect(),
        SendOrder::BaseFirstFromBack => qualities(chunks)
            .flat_map(|quality| {
                let has_quality = move |chunk_idx: &u32| {
                    let content = chunks.get(*chunk_idx as usize);
                    content.is_some_and(|content| content.segments.iter().any(|segment| segment.key.quality == quality))
                };
                let of_quality = (0..num_chunks).rev().filter(has_quality);
                of_quality
                    .map(move |chunk_idx| Batch { qualities: quality..quality.saturating_add(1), ..whole(chunk_idx) })
            })
            .collect(),
        SendOrder::Layers => {
            let keys = chunks.iter().flat_map(|content| content.segments.iter().map(|segment| segment.key));
            let groups: BTreeSet<u16> = keys.map(|key| key.layer_group).collect();
            let batch = |layer_group| Batch {
                chunks: 0..num_chunks,
                qualities: 0..Level::MAX_QUALITIES,
                layer_group: Some(layer_group),
            };
            groups.into_iter().map(batch).collect()
        }
    }
}

/// The quality layers that there are.
fn qualities(chunks: &[&ChunkContent]) -> impl Iterator<Item = u8> + use<> {
    let keys = chunks.iter().flat_map(|content| content.segments.iter().map(|segment| segment.key.quality));
    keys.collect::<BTreeSet<u8>>().into_iter()
}

#[cfg(test)]
mod tests {
    use kvdepot_codec::Side;

    use super::*;

    const ALL: [SendOrder; 4] =
        [SendOrder::Chunks, SendOrder::ChunksFromBack, SendOrder::BaseFirstFromBack, SendOrder::Layers];

    /// A chunk of Q3 with two layer groups: three quality layers of keys, two of values.
    fn layered() -> ChunkContent {
        let qualities = |side: Side| (0..Level::Q3.qualities(side)).map(move |quality| (quality, side));
        let keys = (0..2).flat_map(|layer_group| {
            Side::BOTH.into_iter().flat_map(qualities).map(move |(quality, side)| SegmentKey {
                quality,
                layer_group,
                side,
            })
        });
        ChunkContent { level: Level::Q3, segments: keys.map(|key| SegmentEntry { key, segment_bytes: 7 }).collect() }
    }

    fn segments_of(order: SendOrder, chunks: &[&ChunkContent]) -> Vec<SegmentRef> {
        let held = Held::default();
        let of_batch = |batch: &Batch| batch.segments(chunks, &held).map(|(segment, _)| segment).collect::<Vec<_>>();
        batches(order, chunks).iter().flat_map(of_batch).collect()
    }

    fn order_of(order: SendOrder, chunks: &[&ChunkContent]) -> Vec<(u32, u8, u16)> {
        segments_of(order, chunks)
            .iter()
            .map(|segment| (segment.chunk_idx, segment.key.quality, segment.key.layer_group))
            .collect()
    }

    #[test]
    fn every_order_has_every_segment_once() {
        let content = layered();
        let chunks = [&content, &content, &content];
        for order in ALL {
            let mut segments = segments_of(order, &chunks);
            assert_eq!(segments.len(), 3 * content.segments.len(), "{order:?}");
            segments.sort_unstable_by_key(|segment| (segment.chunk_idx, segment.key));
            segments.dedup();
            assert_eq!(segments.len(), 3 * content.segments.len(), "{order:?}");
            let is_empty = |batch: &Batch| batch.segments(&chunks, &Held::default()).next().is_none();
            assert!(!batches(order, &chunks).iter().any(is_empty), "{order:?}");
        }
        assert!(ALL.into_iter().all(|order| batches(order, &[]).is_empty()));
    }

    #[test]
    fn the_base_of_everything_comes_before_any_refinement() {
        let content = layered();
        let from_back = order_of(SendOrder::BaseFirstFromBack, &[&content, &content]);
        assert!(from_back.is_sorted_by_key(|(_, quality, _)| *quality), "{from_back:?}");
        assert_eq!(from_back.first().map(|first| first.0), Some(1));
    }

    #[test]
    fn layer_groups_come_whole_from_the_first_one() {
        let content = layered();
        let by_layer = order_of(SendOrder::Layers, &[&content, &content]);
        assert!(by_layer.is_sorted_by_key(|(chunk_idx, _, layer_group)| (*layer_group, *chunk_idx)), "{by_layer:?}");
    }

    #[test]
    fn chunks_come_whole_from_either_end() {
        let content = layered();
        let chunks = [&content, &content, &content];
        let chunk_order =
            |order| order_of(order, &chunks).into_iter().map(|(chunk_idx, ..)| chunk_idx).collect::<Vec<_>>();
        assert!(chunk_order(SendOrder::Chunks).is_sorted());
        assert!(chunk_order(SendOrder::ChunksFromBack).is_sorted_by(|a, b| a >= b));
    }
}
