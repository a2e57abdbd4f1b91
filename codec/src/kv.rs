//! KV of a run of tokens, in the canonical layout.

use crate::{Error, Geometry, Result, Side};

/// K and V of a run of consecutive tokens: `[layer][K|V][token][kv_head][head_dim]`, row-major, little-endian elements.
///
/// One side of one layer, `[token][kv_head][head_dim]`, is contiguous and called a plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvChunk {
    geometry: Geometry,
    num_tokens: usize,
    bytes: Buffer,
}

/// Bytes that begin on a multiple of [`Self::ALIGNMENT`] where they were made here: decoders write such planes faster.
struct Buffer {
    /// The bytes, from `start` on, and no more of them behind.
    allocation: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// A line of the processor's caches.
    const ALIGNMENT: usize = 64;

    fn zeroed(num_bytes: usize) -> Self {
        let mut allocation = vec![0; num_bytes + Self::ALIGNMENT];
        let start = allocation.as_ptr().align_offset(Self::ALIGNMENT).min(Self::ALIGNMENT);
        allocation.truncate(start + num_bytes);
        Self { allocation, start }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(allocation: Vec<u8>) -> Self {
        Self { allocation, start: 0 }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.allocation[self.start..]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.allocation[self.start..]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut clone = Self::zeroed(self.len());
        clone.copy_from_slice(self);
        clone
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Buffer {}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl KvChunk {
    /// Most tokens a chunk may hold.
    pub const MAX_TOKENS: usize = 4096;

    /// A chunk of zeros.
    ///
    /// # Errors
    /// `Invalid` when `num_tokens` is zero or above [`Self::MAX_TOKENS`].
    pub fn zeroed(geometry: Geometry, num_tokens: usize) -> Result<Self> {
        Self::check_tokens(num_tokens)?;
        Ok(Self { geometry, num_tokens, bytes: Buffer::zeroed(geometry.kv_bytes(num_tokens)) })
    }

    /// Takes bytes that are in the canonical layout already.
    ///
    /// # Errors
    /// `Invalid` when the number of tokens is out of range or the bytes are not [`Geometry::kv_bytes`] long.
    pub fn from_bytes(geometry: Geometry, num_tokens: usize, bytes: Vec<u8>) -> Result<Self> {
        Self::check_tokens(num_tokens)?;
        let expected = geometry.kv_bytes(num_tokens);
        if bytes.len() != expected {
            return Err(Error::Invalid(format!(
                "{} bytes of KV where {num_tokens} tokens need {expected}",
                bytes.len()
            )));
        }
        Ok(Self { geometry, num_tokens, bytes: bytes.into() })
    }

    fn check_tokens(num_tokens: usize) -> Result<()> {
        if num_tokens == 0 || num_tokens > Self::MAX_TOKENS {
            return Err(Error::Invalid(format!("{num_tokens} tokens in a chunk are outside 1..={}", Self::MAX_TOKENS)));
        }
        Ok(())
    }

    /// Shape of each token's KV.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Tokens held.
    pub const fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// All bytes, in the canonical layout.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Plane of one layer and side: `[token][kv_head][head_dim]`.
    ///
    /// # Panics
    /// When `layer` is not below [`Geometry::num_layers`].
    pub fn plane(&self, layer: usize, side: Side) -> &[u8] {
        &self.bytes[self.plane_range(layer, side)]
    }

    /// Plane of one layer and side, to write: `[token][kv_head][head_dim]`.
    ///
    /// # Panics
    /// When `layer` is not below [`Geometry::num_layers`].
    pub fn plane_mut(&mut self, layer: usize, side: Side) -> &mut [u8] {
        let range = self.plane_range(layer, side);
        &mut self.bytes[range]
    }

    /// All planes, to write: by layer, K and V.
    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let plane_bytes = self.geometry.plane_bytes(self.num_tokens);
        self.bytes.chunks_exact_mut(plane_bytes)
    }

    fn plane_range(&self, layer: usize, side: Side) -> std::ops::Range<usize> {
        assert!(layer < self.geometry.num_layers(), "layer {layer} of {}", self.geometry.num_layers());
        let plane = self.geometry.plane_bytes(self.num_tokens);
        let start = (2 * layer + side as usize) * plane;
        start..start + plane
    }
}
