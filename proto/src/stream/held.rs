//! Which segments of a fetch its receiver has already: `STREAM.md`, "Resume".

use std::collections::BTreeMap;

use super::SegmentRef;
use crate::{ChunkEntry, Error, Result, limits, v1};

/// Segments that a receiver has of the chunks of a manifest: a bit for each, in the manifest's order.
///
/// Takes the memory of its message, whatever a peer says in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    chunks: BTreeMap<u32, HeldChunk>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct HeldChunk {
    instance: u64,
    bits: Vec<u8>,
}

impl Held {
    /// Adds a segment of the chunks of a manifest; one that they do not have changes nothing.
    pub fn insert(&mut self, chunks: &[ChunkEntry], segment: SegmentRef) {
        let Some(chunk) = chunks.get(segment.chunk_idx as usize) else { return };
        let Some(position) = chunk.content.segments.iter().position(|entry| entry.key == segment.key) else { return };
        let held = self.chunks.entry(segment.chunk_idx).or_default();
        held.instance = chunk.instance;
        let (byte, bit) = place(position);
        if held.bits.len() <= byte {
            held.bits.resize(byte.saturating_add(1), 0);
        }
        if let Some(bits) = held.bits.get_mut(byte) {
            *bits |= bit;
        }
    }

    /// Whether the segment at `position` of a chunk is held.
    pub fn has(&self, chunk_idx: u32, position: usize) -> bool {
        let (byte, bit) = place(position);
        let bits = self.chunks.get(&chunk_idx).and_then(|held| held.bits.get(byte));
        bits.is_some_and(|bits| bits & bit != 0)
    }

    /// What is left of it where these are the chunks: of another instance nothing is held.
    #[must_use]
    pub fn of(mut self, chunks: &[ChunkEntry]) -> Self {
        let is_same =
            |idx: u32, held: &HeldChunk| chunks.get(idx as usize).is_some_and(|chunk| chunk.instance == held.instance);
        self.chunks.retain(|idx, held| is_same(*idx, held));
        self
    }
}

/// Byte and bit of a position.
fn place(position: usize) -> (usize, u8) {
    (position / 8, 1 << (position % 8))
}

impl TryFrom<&[v1::HeldChunk]> for Held {
    type Error = Error;

    fn try_from(messages: &[v1::HeldChunk]) -> Result<Self> {
        const MAX_BYTES: usize = limits::MAX_CHUNK_SEGMENTS / 8;
        let count = messages.len();
        if count > limits::MAX_CONTEXT_CHUNKS {
            return Err(Error::invalid(format!("{count} chunks held, at most {}", limits::MAX_CONTEXT_CHUNKS)));
        }
        let mut held = Self::default();
        for v1::HeldChunk { chunk_idx, instance, segments: bits } in messages {
            if bits.len() > MAX_BYTES {
                let found = bits.len();
                return Err(Error::invalid(format!(
                    "{found} bytes of bits held of chunk {chunk_idx}, at most {MAX_BYTES}"
                )));
            }
            let chunk = HeldChunk { instance: *instance, bits: bits.clone() };
            if held.chunks.insert(*chunk_idx, chunk).is_some() {
                return Err(Error::invalid(format!("chunk {chunk_idx} is held twice")));
            }
        }
        Ok(held)
    }
}

impl From<&Held> for Vec<v1::HeldChunk> {
    fn from(held: &Held) -> Self {
        let message = |(&chunk_idx, HeldChunk { instance, bits }): (&u32, &HeldChunk)| v1::HeldChunk {
            chunk_idx,
            instance: *instance,
            segments: bits.clone(),
        };
        held.chunks.iter().map(message).collect()
    }
}

#[cfg(test)]
mod tests {
    use kvdepot_codec::{Level, SegmentKey, Side};
    use proptest::prelude::*;

    use super::*;
    use crate::{ChunkContent, ChunkId, ErrorKind, SegmentEntry};

    fn chunk(idx: u32, num_segments: u16) -> ChunkEntry {
        let entry =
            |layer_group| SegmentEntry { key: SegmentKey { quality: 0, layer_group, side: Side::K }, segment_bytes: 9 };
        ChunkEntry {
            id: ChunkId::new([0; 32]),
            start_token: 0,
            num_tokens: 1,
            content: ChunkContent { level: Level::Q0, segments: (0..num_segments).map(entry).collect() },
            instance: u64::from(idx),
        }
    }

    fn segment(chunk_idx: u32, layer_group: u16) -> SegmentRef {
        SegmentRef { chunk_idx, key: SegmentKey { quality: 0, layer_group, side: Side::K } }
    }

    proptest! {
        /// What is inserted is held and nothing else is, also after the message, and of a replaced chunk nothing is.
        #[test]
        fn exactly_what_was_inserted_is_held(
            sizes in prop::collection::vec(1u16..40, 1..6),
            inserted in prop::collection::vec((0u32..7, 0u16..45), 0..60),
            replaced in 0usize..6,
        ) {
            let mut chunks: Vec<ChunkEntry> = (0..).zip(&sizes).map(|(idx, size)| chunk(idx, *size)).collect();
            let mut held = Held::default();
            inserted.iter().for_each(|(idx, group)| held.insert(&chunks, segment(*idx, *group)));
            let told: Vec<v1::HeldChunk> = (&held).into();
            let heard = Held::try_from(told.as_slice()).unwrap();
            prop_assert_eq!(&heard, &held);
            if let Some(chunk) = chunks.get_mut(replaced) {
                chunk.instance = 50;
            }
            let heard = heard.of(&chunks);
            for (idx, size) in (0..).zip(&sizes) {
                for position in 0..45u16 {
                    let is_held = position < *size && idx as usize != replaced && inserted.contains(&(idx, position));
                    prop_assert_eq!(heard.has(idx, position.into()), is_held, "segment {} of chunk {}", position, idx);
                }
            }
            prop_assert!(!heard.has(6, 0) && !heard.has(0, usize::MAX));
        }
    }

    #[test]
    fn messages_that_hold_too_much_are_refused() {
        let message = |chunk_idx, bytes| v1::HeldChunk { chunk_idx, instance: 1, segments: vec![0xff; bytes] };
        let refused = |messages: Vec<v1::HeldChunk>| Held::try_from(messages.as_slice()).unwrap_err().kind();
        assert!(Held::try_from([message(0, 1024), message(1, 1024)].as_slice()).is_ok());
        assert_eq!(refused(vec![message(0, 1025)]), ErrorKind::Invalid, "segments");
        assert_eq!(refused(vec![message(3, 1), message(3, 1)]), ErrorKind::Invalid, "twice");
        let chunks = (0..).take(limits::MAX_CONTEXT_CHUNKS.saturating_add(1)).map(|idx| message(idx, 0)).collect();
        assert_eq!(refused(chunks), ErrorKind::Invalid, "chunks");
    }
}
