//! A dump, cut into chunks and encoded.

use kvdepot_client::{EncodedChunk, Result};
use kvdepot_codec::{EncodeOptions, Level, Segment, dump::KvDump};
use rayon::prelude::*;

/// A dump that is to be encoded chunk by chunk.
pub(super) struct ChunkEncoder<'a> {
    pub(super) dump: &'a KvDump<'a>,
    pub(super) level: Level,
    pub(super) chunk_tokens: usize,
}

impl ChunkEncoder<'_> {
    pub(super) fn options(&self) -> EncodeOptions {
        EncodeOptions::new(self.level)
    }

    pub(super) fn num_chunks(&self) -> usize {
        self.dump.num_tokens().div_ceil(self.chunk_tokens)
    }

    /// Encodes one chunk.
    pub(super) fn encode(&self, chunk_idx: usize) -> Result<Vec<Segment>> {
        let start = chunk_idx * self.chunk_tokens;
        let num_tokens = self.chunk_tokens.min(self.dump.num_tokens() - start);
        let encoded =
            self.dump.chunk(start, num_tokens).and_then(|chunk| kvdepot_codec::encode(&chunk, &self.options()));
        Ok(encoded?)
    }

    /// Encodes all chunks, on all cores; `done` is told after each.
    pub(super) fn encode_all(&self, done: impl Fn() + Sync) -> Result<Vec<EncodedChunk>> {
        let encode = |chunk_idx| {
            let segments = self.encode(chunk_idx)?;
            done();
            Ok(EncodedChunk { level: self.level, segments })
        };
        (0..self.num_chunks()).into_par_iter().map(encode).collect()
    }
}
