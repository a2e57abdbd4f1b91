//! Chunks to encode, and room to decode them into.

use std::time::Duration;

use kvdepot_baselines::relative_error;
use kvdepot_client::Result;
use kvdepot_codec::{KvChunk, Side, dump::KvDump};

/// Chunks of a dump, repeated, each with its position and a chunk to decode into.
pub(super) struct WorkSet {
    pub(super) chunks: Vec<KvChunk>,
    pub(super) first_positions: Vec<u64>,
    pub(super) targets: Vec<KvChunk>,
    /// How many of the chunks, from the first on, are the dump's; the others repeat them.
    pub(super) num_distinct: usize,
}

impl WorkSet {
    /// All of a dump in chunks, repeated to at least `repeat_to` bytes.
    pub(super) fn cut(dump: &KvDump<'_>, chunk_tokens: usize, repeat_to: usize) -> Result<Self> {
        let starts = (0..dump.num_tokens()).step_by(chunk_tokens);
        let chunk = |start| Ok((start, dump.chunk(start, chunk_tokens.min(dump.num_tokens() - start))?));
        Ok(Self::repeat(dump, starts.map(chunk).collect::<Result<_>>()?, repeat_to))
    }

    /// The tokens of a dump from `start` on as one chunk, as many as fit, repeated to at least `repeat_to` bytes.
    pub(super) fn context(dump: &KvDump<'_>, start: usize, repeat_to: usize) -> Result<Self> {
        let num_tokens = KvChunk::MAX_TOKENS.min(dump.num_tokens() - start);
        Ok(Self::repeat(dump, vec![(start, dump.chunk(start, num_tokens)?)], repeat_to))
    }

    fn repeat(dump: &KvDump<'_>, distinct: Vec<(usize, KvChunk)>, repeat_to: usize) -> Self {
        let distinct_bytes: usize = distinct.iter().map(|(_, chunk)| chunk.bytes().len()).sum();
        let repeats = repeat_to.div_ceil(distinct_bytes.max(1)).max(1);
        let num_distinct = distinct.len();
        let (starts, chunks): (Vec<_>, Vec<_>) = distinct.iter().cycle().take(num_distinct * repeats).cloned().unzip();
        let first_positions = starts.into_iter().map(|start| dump.first_position() + start as u64).collect();
        Self { targets: chunks.clone(), chunks, first_positions, num_distinct }
    }

    /// Bytes of all chunks.
    pub(super) fn plain_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes().len()).sum()
    }

    /// Rate of going once over all chunks.
    pub(super) fn gb_per_sec(&self, elapsed: Duration) -> f64 {
        self.plain_bytes() as f64 / elapsed.as_secs_f64() / 1e9
    }

    /// How far the chunks decoded last are off, on one side.
    pub(super) fn relative_error(&self, side: Side) -> f64 {
        relative_error(self.chunks.iter().zip(&self.targets).take(self.num_distinct), side)
    }
}
