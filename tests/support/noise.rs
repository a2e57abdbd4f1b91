//! Contexts that are large and quickly made.

use kvdepot_client::{EncodedChunk, FetchRequest};
use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, encode};
use kvdepot_proto::Scope;
use rand::{RngCore, SeedableRng, rngs::StdRng};

use crate::spec_of;

/// KV of random bits, which no level makes smaller: for tests that need many bytes, whatever they mean.
#[derive(Debug, Clone)]
pub struct Noise {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its chunks, encoded.
    pub chunks: Vec<EncodedChunk>,
}

impl Noise {
    const CHUNK_TOKENS: usize = 256;
    /// MiB of each chunk.
    pub const CHUNK_MIB: usize = 8;

    /// A context of `mib` MiB, in whole chunks.
    ///
    /// # Errors
    /// None that the limits of the codec allow.
    pub fn of_mib(mib: usize, seed: u64) -> anyhow::Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut chunks = Vec::new();
        for _ in 0..mib / Self::CHUNK_MIB {
            let mut bytes = vec![0; geometry()?.kv_bytes(Self::CHUNK_TOKENS)];
            rng.fill_bytes(&mut bytes);
            let chunk = KvChunk::from_bytes(geometry()?, Self::CHUNK_TOKENS, bytes)?;
            let segments = encode(&chunk, &EncodeOptions::new(Level::Q0))?;
            chunks.push(EncodedChunk { level: Level::Q0, segments });
        }
        let tokens = (0..chunks.len() * Self::CHUNK_TOKENS).map(|_| rng.next_u32() >> 12).collect();
        Ok(Self { tokens, chunks })
    }

    /// Where it is put.
    ///
    /// # Errors
    /// None that the limits of a geometry allow.
    pub fn scope(&self) -> anyhow::Result<Scope> {
        Ok(Scope::exact(spec_of(geometry()?)))
    }

    /// Asks for all of it.
    ///
    /// # Errors
    /// As [`Self::scope`].
    pub fn request(&self) -> anyhow::Result<FetchRequest> {
        Ok(FetchRequest::tokens(self.scope()?, self.tokens.clone()))
    }

    /// Bytes of all segments.
    pub fn stored_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.content().stored_bytes()).sum()
    }
}

/// 32 KiB of KV for each token.
fn geometry() -> anyhow::Result<Geometry> {
    Ok(Geometry::new(8, 8, 128, Dtype::Bf16)?)
}
