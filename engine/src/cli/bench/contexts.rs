//! What is fetched: one long context for each way of storing it, of which every measured one is a prefix.

use kvdepot_client::{Client, EncodedChunk};
use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, Side, dump::KvDump, encode};
use kvdepot_proto::{KvSpec, Scope};

/// Chunks that differ; a context repeats them, so that a long one is quickly made.
const DISTINCT_CHUNKS: usize = 2;

/// A way of storing a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// At a level.
    At(Level),
    /// The bytes of bf16: q0 of random bits, which no coder makes smaller.
    Raw,
    /// The bytes of int8: random bits of half as many heads, at q0.
    Int8,
}

impl Stored {
    pub(super) const ALL: [Self; 4] = [Self::At(Level::Q3), Self::At(Level::Q2), Self::Int8, Self::Raw];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::At(level) => level.name(),
            Self::Raw => "raw",
            Self::Int8 => "int8",
        }
    }
}

/// Contexts like a dump's KV.
pub(super) struct Contexts {
    geometry: Geometry,
    chunks: Vec<KvChunk>,
    pub(super) tokens: Vec<u32>,
    chunk_tokens: usize,
    rope: kvdepot_codec::Rope,
}

impl Contexts {
    /// A context of so many tokens, at most, of chunks that the dump holds.
    pub(super) fn new(like: &KvDump<'_>, num_tokens: usize, chunk_tokens: usize) -> anyhow::Result<Self> {
        let starts = (0..like.num_tokens()).step_by(chunk_tokens).take(DISTINCT_CHUNKS);
        let whole = starts.filter(|start| start + chunk_tokens <= like.num_tokens());
        let chunks: Vec<KvChunk> = whole.map(|start| like.chunk(start, chunk_tokens)).collect::<Result<_, _>>()?;
        let few = || kvdepot_client::Error::invalid(format!("the dump has fewer than {chunk_tokens} tokens"));
        let geometry = *chunks.first().ok_or_else(few)?.geometry();
        let tokens = (0..u32::try_from(num_tokens - num_tokens % chunk_tokens)?).collect();
        Ok(Self { geometry, chunks, tokens, chunk_tokens, rope: like.origin().rope()? })
    }

    /// So many tokens of the context, or less: whole chunks.
    pub(super) fn whole_chunks(&self, num_tokens: usize) -> usize {
        let num_tokens = num_tokens.min(self.tokens.len());
        num_tokens - num_tokens % self.chunk_tokens
    }

    /// Where a way of storing is kept.
    pub(super) fn scope(&self, stored: Stored) -> anyhow::Result<Scope> {
        let spec = KvSpec {
            model: format!("bench-{}", stored.name()),
            weights_digest: [0; 32],
            tokenizer_digest: None,
            adapter: String::new(),
            geometry: self.geometry_of(stored)?,
            rope: (&self.rope).into(),
            sliding_window: None,
        };
        let lossy = matches!(stored, Stored::At(level) if !level.is_lossless());
        Ok(Scope { lossy, ..Scope::exact(spec) })
    }

    /// Stores the context, if it is not there.
    pub(super) async fn put(&self, client: &Client, stored: Stored) -> anyhow::Result<()> {
        let scope = self.scope(stored)?;
        if client.matches(&scope, &self.tokens).await?.matched_tokens == self.tokens.len() {
            return Ok(());
        }
        let distinct = (0..self.chunks.len()).map(|idx| self.encode(stored, idx)).collect::<Result<Vec<_>, _>>()?;
        let num_chunks = self.tokens.len() / self.chunk_tokens;
        let chunks: Vec<EncodedChunk> = distinct.iter().cycle().take(num_chunks).cloned().collect();
        client.put(&scope, &self.tokens, &chunks, |_| ()).await?;
        Ok(())
    }

    fn encode(&self, stored: Stored, idx: usize) -> anyhow::Result<EncodedChunk> {
        let start = (idx * self.chunk_tokens) as u64;
        let (chunk, level) = match stored {
            Stored::At(level) => (self.chunks[idx].clone(), level),
            Stored::Raw | Stored::Int8 => (noise(self.geometry_of(stored)?, self.chunk_tokens, start + 1)?, Level::Q0),
        };
        let segments = encode(&chunk, &EncodeOptions::new(level).at(self.rope, start))?;
        Ok(EncodedChunk { level, segments })
    }

    fn geometry_of(&self, stored: Stored) -> anyhow::Result<Geometry> {
        let whole = self.geometry;
        let kv_heads = if stored == Stored::Int8 { whole.num_kv_heads() / 2 } else { whole.num_kv_heads() };
        let [layers, kv_heads, head_dim] = [whole.num_layers(), kv_heads, whole.head_dim()].map(|n| n as u32);
        Ok(Geometry::new(layers, kv_heads, head_dim, Dtype::Bf16)?)
    }
}

/// Random bits.
fn noise(geometry: Geometry, num_tokens: usize, seed: u64) -> anyhow::Result<KvChunk> {
    let mut chunk = KvChunk::zeroed(geometry, num_tokens)?;
    let mut state = seed;
    for layer in 0..geometry.num_layers() {
        for side in Side::BOTH {
            for word in chunk.plane_mut(layer, side).chunks_exact_mut(8) {
                // Xorshift.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
        }
    }
    Ok(chunk)
}
