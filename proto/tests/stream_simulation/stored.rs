//! What a depot stores of one context: real segments of made-up KV.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, Segment, encode};
use kvdepot_proto::stream::SegmentRef;
use kvdepot_proto::{ChunkContent, ChunkEntry, ChunkId, KvSpec, Manifest, Rope, SegmentEntry};

use crate::dice::Dice;

pub(crate) const CHUNK_TOKENS: u32 = 4;
pub(crate) const MAX_CHUNKS: usize = 6;
pub(crate) const LEVELS: [Level; 2] = [Level::Q0, Level::Q3];
/// Encodings of the same tokens that differ.
const VERSIONS: usize = 2;

pub(crate) fn spec() -> KvSpec {
    KvSpec {
        model: "tiny".to_owned(),
        weights_digest: [7; 32],
        tokenizer_digest: None,
        adapter: String::new(),
        geometry: Geometry::new(2, 1, 8, Dtype::Bf16).unwrap(),
        rope: Rope { kind: "default".to_owned(), theta: 10_000.0, parameters: Vec::new() },
        sliding_window: None,
    }
}

/// Segments of every chunk, at every level, in every version.
static ENCODED: LazyLock<HashMap<(usize, u8, usize), Vec<Segment>>> = LazyLock::new(|| {
    let mut dice = Dice::new(1);
    let mut encoded = HashMap::new();
    for idx in 0..MAX_CHUNKS {
        for level in LEVELS {
            for version in 0..VERSIONS {
                let options = EncodeOptions::new(level).at((&spec().rope).try_into().unwrap(), idx as u64 * 4);
                encoded.insert((idx, level as u8, version), encode(&kv(&mut dice), &options).unwrap());
            }
        }
    }
    encoded
});

fn kv(dice: &mut Dice) -> KvChunk {
    let num_tokens = CHUNK_TOKENS as usize;
    let elements = spec().geometry.kv_bytes(num_tokens) / 2;
    // The upper half of an f32 is the same number in bf16.
    let bytes = (0..elements).flat_map(|_| {
        let [_, _, low, high] = (dice.below(2000) as f32 / 1000.0 - 1.0).to_le_bytes();
        [low, high]
    });
    KvChunk::from_bytes(spec().geometry, num_tokens, bytes.collect()).unwrap()
}

/// A context as it is stored.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) manifest: Manifest,
    pub(crate) segments: HashMap<SegmentRef, Bytes>,
    version: usize,
}

impl Stored {
    /// Chunks of these levels, which one put stored.
    pub(crate) fn put(levels: &[Level], version: usize) -> Self {
        let mut segments = HashMap::new();
        let mut chunks = Vec::new();
        for (chunk_idx, level) in (0u32..).zip(levels) {
            let of_chunk = &ENCODED[&(chunk_idx as usize, *level as u8, version)];
            let entry = |one: &Segment| SegmentEntry { key: one.key, segment_bytes: one.bytes.len() as u64 };
            segments.extend(
                of_chunk.iter().map(|one| (SegmentRef { chunk_idx, key: one.key }, Bytes::copy_from_slice(&one.bytes))),
            );
            chunks.push(ChunkEntry {
                id: ChunkId::new([chunk_idx as u8; 32]),
                start_token: chunk_idx * CHUNK_TOKENS,
                num_tokens: CHUNK_TOKENS,
                content: ChunkContent { level: *level, segments: of_chunk.iter().map(entry).collect() },
                instance: version as u64 + 1,
            });
        }
        let tokens = (0..levels.len() as u32 * CHUNK_TOKENS).collect();
        Self { manifest: Manifest { spec: spec(), tokens, chunks }, segments, version }
    }

    fn levels(&self) -> Vec<Level> {
        self.manifest.chunks.iter().map(|chunk| chunk.content.level).collect()
    }

    /// The same tokens, removed and put again.
    pub(crate) fn replaced(&self) -> Self {
        Self::put(&self.levels(), (self.version + 1) % VERSIONS)
    }

    /// Without its last chunk.
    pub(crate) fn shortened(&self) -> Self {
        let levels = self.levels();
        Self::put(&levels[..levels.len().saturating_sub(1)], self.version)
    }

    /// With a chunk behind it, if there is room.
    pub(crate) fn continued(&self) -> Self {
        let mut levels = self.levels();
        levels.push(Level::Q0);
        levels.truncate(MAX_CHUNKS);
        Self::put(&levels, self.version)
    }

    /// Its leading chunks.
    pub(crate) fn leading(&self, num_chunks: usize) -> Manifest {
        let chunks = self.manifest.chunks[..num_chunks].to_vec();
        let tokens = self.manifest.tokens[..num_chunks * CHUNK_TOKENS as usize].to_vec();
        Manifest { spec: spec(), tokens, chunks }
    }
}
