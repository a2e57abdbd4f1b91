//! Synthetic contexts: the shapes of real models, values with the spread of a model's.

use kvdepot_client::EncodedChunk;
use kvdepot_codec::{Dtype, Geometry, Level};
use kvdepot_proto::Scope;
use kvdepot_tests::{KvSource, spec_of};

const SEED: u64 = 20_261_125;
/// Tokens of a chunk.
const CHUNK_TOKENS: usize = 256;

/// What a context is made of.
pub(crate) struct Shape {
    source: KvSource,
    num_tokens: usize,
    level: Level,
}

impl Shape {
    /// Chunks of Llama 3.1 8B: 33.5 MB of KV each.
    pub(crate) fn llama(num_chunks: usize, level: Level) -> Self {
        let geometry = Geometry::new(32, 8, 128, Dtype::Bf16).expect("within the limits");
        Self { source: KvSource { geometry, seed: SEED }, num_tokens: num_chunks * CHUNK_TOKENS, level }
    }

    /// A chunk of two segments whose payload is about 1 MiB.
    pub(crate) fn one_mib() -> Self {
        let geometry = Geometry::new(1, 11, 128, Dtype::Bf16).expect("within the limits");
        Self { source: KvSource { geometry, seed: SEED }, num_tokens: CHUNK_TOKENS, level: Level::Q0 }
    }

    /// Any shape.
    pub(crate) fn of(geometry: Geometry, num_tokens: usize, level: Level) -> Self {
        Self { source: KvSource { geometry, seed: SEED }, num_tokens, level }
    }

    /// Where it is stored.
    pub(crate) fn scope(&self) -> Scope {
        Scope { lossy: true, ..Scope::exact(spec_of(self.source.geometry)) }
    }

    /// Its tokens.
    pub(crate) fn tokens(&self) -> Vec<u32> {
        self.source.tokens(self.num_tokens)
    }

    /// Its KV, encoded.
    pub(crate) fn encoded(&self) -> anyhow::Result<Vec<EncodedChunk>> {
        self.source.encoded(self.num_tokens, self.level)
    }

    /// Bytes of its KV, decoded.
    pub(crate) fn kv_bytes(&self) -> usize {
        self.source.geometry.kv_bytes(self.num_tokens)
    }
}
