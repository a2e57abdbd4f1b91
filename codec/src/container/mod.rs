//! `.kvd` files: an encoded context, self-contained. `FORMAT.md`, "Container".
//!
//! The header lists every segment, so that a reader finds one without touching the others; a [`Writer`] takes chunks
//! one by one and writes that header last.

mod header;
mod writer;

use std::ops::Range;

pub use writer::Writer;

use crate::{Error, Geometry, KvChunk, Origin, Result, SegmentKey, decode};
use header::{Entry, Header};

/// What a container holds, besides its segments.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Shape of each token's KV.
    pub geometry: Geometry,
    /// Tokens of the context, at least 1.
    pub num_tokens: usize,
    /// Tokens of each chunk but the last, which has what remains.
    pub chunk_tokens: usize,
    /// RoPE, first position and free strings.
    pub origin: Origin,
}

impl Description {
    /// Chunks that the context is cut into.
    pub fn num_chunks(&self) -> usize {
        self.num_tokens.div_ceil(self.chunk_tokens)
    }

    /// Tokens of a chunk, as a range of the context's.
    ///
    /// # Panics
    /// When `chunk` is not below [`Self::num_chunks`].
    pub fn tokens_of(&self, chunk: usize) -> Range<usize> {
        assert!(chunk < self.num_chunks(), "chunk {chunk} of {}", self.num_chunks());
        let start = chunk * self.chunk_tokens;
        start..self.num_tokens.min(start + self.chunk_tokens)
    }

    /// Checks what the types leave open.
    fn check(&self) -> Result<()> {
        let Self { num_tokens, chunk_tokens, .. } = *self;
        if num_tokens == 0 || chunk_tokens == 0 || chunk_tokens > KvChunk::MAX_TOKENS {
            let limit = KvChunk::MAX_TOKENS;
            return Err(Error::Invalid(format!("{num_tokens} tokens in chunks of {chunk_tokens}, limit {limit}")));
        }
        Ok(())
    }
}

/// An encoded context, over the bytes of its file.
#[derive(Debug)]
pub struct Container<'a> {
    description: Description,
    /// In the order of their chunks, and within `segments`.
    entries: Vec<Entry>,
    segments: &'a [u8],
}

impl<'a> Container<'a> {
    /// Reads and checks the header; segments are sliced, not copied, and not verified before they are decoded.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not a container, `Incompatible` when they are of another version.
    ///
    /// # Examples
    /// ```
    /// use std::io::Cursor;
    /// use kvdepot_codec::container::{Container, Description, Writer};
    /// use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, Origin, encode};
    ///
    /// let geometry = Geometry::new(2, 1, 64, Dtype::Bf16)?;
    /// let options = EncodeOptions::new(Level::Q0);
    /// let description = Description { geometry, num_tokens: 40, chunk_tokens: 32, origin: Origin::default() };
    /// let mut writer = Writer::new(Cursor::new(Vec::new()), description, options.segment_keys(&geometry).count())?;
    /// writer.push(&encode(&KvChunk::zeroed(geometry, 32)?, &options)?)?;
    /// writer.push(&encode(&KvChunk::zeroed(geometry, 8)?, &options)?)?;
    /// let bytes = writer.finish()?.into_inner();
    ///
    /// let container = Container::parse(&bytes)?;
    /// assert_eq!(container.chunk(1)?, KvChunk::zeroed(geometry, 8)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (Header { description, entries }, segments) = header::parse(bytes)?;
        Ok(Self { description, entries, segments })
    }

    /// What it holds.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Segments of a chunk by key, encoded. None for a chunk that does not exist.
    pub fn segments(&self, chunk: usize) -> impl Iterator<Item = (SegmentKey, &'a [u8])> {
        let [start, end] =
            [chunk, chunk.saturating_add(1)].map(|chunk| self.entries.partition_point(|entry| entry.chunk < chunk));
        self.entries[start..end].iter().map(|entry| (entry.key, &self.segments[entry.range.clone()]))
    }

    /// Decodes a chunk.
    ///
    /// # Errors
    /// `Invalid` when there is no such chunk, else as [`decode`].
    pub fn chunk(&self, chunk: usize) -> Result<KvChunk> {
        if chunk >= self.description.num_chunks() {
            return Err(Error::Invalid(format!("chunk {chunk} of {}", self.description.num_chunks())));
        }
        let num_tokens = self.description.tokens_of(chunk).len();
        decode(self.description.geometry, num_tokens, self.segments(chunk).map(|(_, bytes)| bytes))
    }
}

#[cfg(test)]
mod tests;
