//! Manifests of small contexts, from an input.

use arbitrary::Arbitrary;
use kvdepot_codec::{Dtype, Geometry, Level, SegmentKey, Side};
use kvdepot_proto::{ChunkContent, ChunkEntry, ChunkId, KvSpec, Manifest, Rope, SegmentEntry};

/// Most chunks of a manifest, and layer groups of a chunk.
const MAX: usize = 6;

/// One chunk of a manifest.
#[derive(Debug, Clone, Arbitrary)]
pub(crate) struct Chunk {
    is_layered: bool,
    layer_groups: u8,
    instance: u64,
    segment_bytes: u16,
}

impl Chunk {
    fn content(&self) -> ChunkContent {
        let level = if self.is_layered { Level::Q3 } else { Level::Q0 };
        let groups = 0..u16::from(self.layer_groups) % MAX as u16 + 1;
        let planes = groups.flat_map(|group| Side::BOTH.map(|side| (group, side)));
        let keys = planes.flat_map(|(layer_group, side)| {
            (0..level.qualities(side)).map(move |quality| SegmentKey { quality, layer_group, side })
        });
        let segment_bytes = u64::from(self.segment_bytes).max(1);
        ChunkContent { level, segments: keys.map(|key| SegmentEntry { key, segment_bytes }).collect() }
    }
}

/// A manifest of chunks of one token.
pub(crate) fn manifest(chunks: &[Chunk]) -> Manifest {
    let entry = |(idx, chunk): (u32, &Chunk)| ChunkEntry {
        id: ChunkId::new([idx as u8; 32]),
        start_token: idx,
        num_tokens: 1,
        content: chunk.content(),
        instance: chunk.instance,
    };
    let chunks: Vec<ChunkEntry> = (0..).zip(chunks.iter().take(MAX)).map(entry).collect();
    Manifest { spec: spec(), tokens: vec![0; chunks.len()], chunks }
}

fn spec() -> KvSpec {
    KvSpec {
        model: "tiny".to_owned(),
        weights_digest: [7; 32],
        tokenizer_digest: None,
        adapter: String::new(),
        geometry: Geometry::new(MAX as u32, 1, 8, Dtype::Bf16).expect("within the limits"),
        rope: Rope { kind: "default".to_owned(), theta: 10_000.0, parameters: Vec::new() },
        sliding_window: None,
    }
}
