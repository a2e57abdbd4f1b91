//! A dump, cut into chunks and encoded.

use kvdepot_client::{EncodedChunk, Result};
use kvdepot_codec::{EncodeOptions, Level, Rope, Segment, dump::KvDump};
use rayon::prelude::*;

/// A dump that is to be encoded chunk by chunk.
pub(super) struct ChunkEncoder<'a> {
    dump: &'a KvDump<'a>,
    level: Level,
    chunk_tokens: usize,
    /// Of the keys, at levels that turn them back.
    rope: Option<Rope>,
}

impl<'a> ChunkEncoder<'a> {
    /// Encodes `dump` at `level`. Only levels that turn keys back ask for `rope`: the others take keys of any.
    pub(super) fn new(
        dump: &'a KvDump<'a>,
        level: Level,
        chunk_tokens: usize,
        rope: impl FnOnce() -> Result<Rope>,
    ) -> Result<Self> {
        let rope = level.needs_rope().then(rope).transpose()?;
        Ok(Self { dump, level, chunk_tokens, rope })
    }

    pub(super) fn dump(&self) -> &'a KvDump<'a> {
        self.dump
    }

    pub(super) fn chunk_tokens(&self) -> usize {
        self.chunk_tokens
    }

    pub(super) fn num_chunks(&self) -> usize {
        self.dump.num_tokens().div_ceil(self.chunk_tokens)
    }

    pub(super) fn segments_per_chunk(&self) -> usize {
        EncodeOptions::new(self.level).segment_keys(self.dump.geometry()).count()
    }

    /// Encodes one chunk.
    pub(super) fn encode(&self, chunk_idx: usize) -> Result<Vec<Segment>> {
        let start = chunk_idx * self.chunk_tokens;
        let num_tokens = self.chunk_tokens.min(self.dump.num_tokens() - start);
        let chunk = self.dump.chunk(start, num_tokens)?;
        Ok(kvdepot_codec::encode(&chunk, &self.options(start))?)
    }

    fn options(&self, start: usize) -> EncodeOptions {
        let options = EncodeOptions::new(self.level);
        let first_position = self.dump.first_position().saturating_add(start as u64);
        self.rope.map_or(options, |rope| options.at(rope, first_position))
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
