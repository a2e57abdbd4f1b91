//! Segments: one quality layer of one layer group of one side of a chunk, decodable alone. `FORMAT.md`, "Segment".
//!
//! This module owns the header, the checksum and the order of what lies between; the content of preambles and tiles is
//! the levels'. Invariant: a [`SegmentHeader`] that exists describes bytes of the length it states, within all limits.

mod codec;
mod decode;
mod encode;
mod header;
mod metadata;
mod rope_fields;

pub use codec::Codec;
pub use decode::{decode, decode_layers, decode_segment, error_bound, verify};
pub use encode::{EncodeOptions, encode, encode_group, encode_segment};
pub use header::SegmentHeader;
pub use metadata::metadata_bytes;

pub(crate) use header::HEADER_BYTES;
pub(crate) use rope_fields::SCALING_BYTES;

use crate::SegmentKey;

/// An encoded segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Name inside its chunk.
    pub key: SegmentKey,
    /// Header, index, preamble and tiles.
    pub bytes: Vec<u8>,
}
