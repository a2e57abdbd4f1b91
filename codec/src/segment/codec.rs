//! The codec on one instruction set, for tests, benches and comparisons.

use super::decode::{decode_on, decode_segment_on};
use super::encode::{encode_on, encode_segment_on};
use super::{EncodeOptions, Segment, SegmentHeader};
use crate::{Geometry, Isa, KvChunk, Result, SegmentKey};

/// The codec on a chosen instruction set; the free functions of this crate are those of [`Codec::default`], the best.
///
/// # Examples
/// ```
/// use kvdepot_codec::{Codec, Dtype, EncodeOptions, Geometry, Isa, KvChunk, Level, encode};
///
/// let geometry = Geometry::new(2, 1, 64, Dtype::Bf16)?;
/// let chunk = KvChunk::zeroed(geometry, 100)?;
/// let segments = encode(&chunk, &EncodeOptions::new(Level::Q0))?;
/// for isa in Isa::available() {
///     let segments = segments.iter().map(|segment| segment.bytes.as_slice());
///     assert_eq!(Codec::on(isa).decode(geometry, 100, segments)?, chunk);
/// }
/// # Ok::<(), kvdepot_codec::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    isa: Isa,
}

impl Default for Codec {
    fn default() -> Self {
        Self::on(Isa::best())
    }
}

impl Codec {
    /// The codec on `isa`.
    pub const fn on(isa: Isa) -> Self {
        Self { isa }
    }

    /// As [`encode`](crate::encode).
    ///
    /// # Errors
    /// As [`encode`](crate::encode).
    pub fn encode(&self, chunk: &KvChunk, options: &EncodeOptions) -> Result<Vec<Segment>> {
        encode_on(self.isa, chunk, options)
    }

    /// As [`encode_segment`](crate::encode_segment).
    ///
    /// # Errors
    /// As [`encode_segment`](crate::encode_segment).
    pub fn encode_segment(&self, chunk: &KvChunk, options: &EncodeOptions, key: SegmentKey) -> Result<Segment> {
        encode_segment_on(self.isa, chunk, options, key)
    }

    /// As [`decode_segment`](crate::decode_segment).
    ///
    /// # Errors
    /// As [`decode_segment`](crate::decode_segment).
    pub fn decode_segment(&self, bytes: &[u8], into: &mut KvChunk) -> Result<SegmentHeader> {
        decode_segment_on(self.isa, bytes, into)
    }

    /// As [`decode`](crate::decode).
    ///
    /// # Errors
    /// As [`decode`](crate::decode).
    pub fn decode<'a>(
        &self,
        geometry: Geometry,
        num_tokens: usize,
        segments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<KvChunk> {
        decode_on(self.isa, geometry, num_tokens, segments)
    }
}
