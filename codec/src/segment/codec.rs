//! The codec on one instruction set, for tests, benches and comparisons.

use super::decode::{decode_layers_on, decode_on};
use super::encode::{encode_group_on, encode_on};
use super::{EncodeOptions, Segment, SegmentHeader};
use crate::{Geometry, Isa, KvChunk, Result, Side};

/// The codec on a chosen instruction set and one thread.
///
/// The free functions of this crate use the best instruction set, and [`encode`](crate::encode) and
/// [`decode`](crate::decode) all threads of the current rayon pool.
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

    /// As [`encode_group`](crate::encode_group).
    ///
    /// # Errors
    /// As [`encode_group`](crate::encode_group).
    pub fn encode_group(
        &self,
        chunk: &KvChunk,
        options: &EncodeOptions,
        layer_group: u16,
        side: Side,
    ) -> Result<Vec<Segment>> {
        encode_group_on(self.isa, chunk, options, layer_group, side)
    }

    /// As [`decode_segment`](crate::decode_segment).
    ///
    /// # Errors
    /// As [`decode_segment`](crate::decode_segment).
    pub fn decode_segment(&self, bytes: &[u8], into: &mut KvChunk) -> Result<SegmentHeader> {
        decode_layers_on(self.isa, &[bytes], into)
    }

    /// As [`decode_layers`](crate::decode_layers).
    ///
    /// # Errors
    /// As [`decode_layers`](crate::decode_layers).
    pub fn decode_layers(&self, segments: &[&[u8]], into: &mut KvChunk) -> Result<SegmentHeader> {
        decode_layers_on(self.isa, segments, into)
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
