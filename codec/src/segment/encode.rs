//! Chunks to segments.

use std::ops::Range;

use super::{HEADER_BYTES, Segment, SegmentHeader};
use crate::levels::{self, EncodedPlanes};
use crate::plane::{Plane, PlaneShape};
use crate::{Error, Geometry, Isa, KvChunk, Level, Result, SegmentKey, Side, bounds};

/// How to encode a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Point on the quality ladder.
    pub level: Level,
    /// Layers in each segment, at least 1; the last group may have fewer.
    pub layers_per_group: u16,
}

impl EncodeOptions {
    /// One layer per segment: the finest order of transfer, at less than a hundredth of the bytes.
    pub const fn new(level: Level) -> Self {
        Self { level, layers_per_group: 1 }
    }

    /// Keys of the segments that a chunk encodes into, in ascending order.
    pub fn segment_keys(&self, geometry: &Geometry) -> impl Iterator<Item = SegmentKey> + use<> {
        let num_groups = geometry.num_layers().div_ceil(self.group_size());
        (0..num_groups)
            .flat_map(|group| Side::BOTH.map(|side| SegmentKey { quality: 0, layer_group: group as u16, side }))
    }

    /// Layers in a full group.
    pub(crate) fn group_size(&self) -> usize {
        usize::from(self.layers_per_group).max(1)
    }

    fn layers(&self, geometry: &Geometry, layer_group: u16) -> Range<usize> {
        let first = usize::from(layer_group) * self.group_size();
        first..(first + self.group_size()).min(geometry.num_layers())
    }
}

/// Encodes a chunk into all of its segments, in the order of their keys.
///
/// Equal chunks and options give equal bytes.
///
/// # Errors
/// `Invalid` when the level does not take the values in the chunk, or a segment may exceed
/// [`MAX_SEGMENT_BYTES`](bounds::MAX_SEGMENT_BYTES).
///
/// # Examples
/// ```
/// use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, decode, encode};
///
/// let geometry = Geometry::new(2, 1, 64, Dtype::Bf16)?;
/// let chunk = KvChunk::zeroed(geometry, 100)?;
/// let segments = encode(&chunk, &EncodeOptions::new(Level::Q0))?;
/// assert_eq!(segments.len(), 4);
/// assert_eq!(decode(geometry, 100, segments.iter().map(|segment| segment.bytes.as_slice()))?, chunk);
/// # Ok::<(), kvdepot_codec::Error>(())
/// ```
pub fn encode(chunk: &KvChunk, options: &EncodeOptions) -> Result<Vec<Segment>> {
    encode_on(Isa::best(), chunk, options)
}

/// [`encode`] with one instruction set.
pub(super) fn encode_on(isa: Isa, chunk: &KvChunk, options: &EncodeOptions) -> Result<Vec<Segment>> {
    options.segment_keys(chunk.geometry()).map(|key| encode_segment_on(isa, chunk, options, key)).collect()
}

/// Encodes one segment of a chunk: one of [`EncodeOptions::segment_keys`]. Callers may run these in parallel.
///
/// # Errors
/// `Invalid` as for [`encode`], and when the options have no such key.
pub fn encode_segment(chunk: &KvChunk, options: &EncodeOptions, key: SegmentKey) -> Result<Segment> {
    encode_segment_on(Isa::best(), chunk, options, key)
}

/// [`encode_segment`] with one instruction set.
pub(super) fn encode_segment_on(
    isa: Isa,
    chunk: &KvChunk,
    options: &EncodeOptions,
    key: SegmentKey,
) -> Result<Segment> {
    let (geometry, num_tokens) = (chunk.geometry(), chunk.num_tokens());
    let layers = options.layers(geometry, key.layer_group);
    if layers.is_empty() || key.quality != 0 {
        return Err(Error::Invalid(format!("no {key:?} at {} with {}", options.level, options.layers_per_group)));
    }
    let bound = bounds::segment_bytes(geometry, num_tokens, options);
    if bound > bounds::MAX_SEGMENT_BYTES {
        let limit = bounds::MAX_SEGMENT_BYTES;
        return Err(Error::Invalid(format!("a segment may take {bound} bytes, the limit is {limit}")));
    }
    let planes = encode_planes(isa, chunk, options.level, layers.clone(), key.side)?;
    let mut bytes =
        [&[0; HEADER_BYTES], planes.tiles.index(), planes.preamble.as_slice(), planes.tiles.tiles()].concat();
    let header = SegmentHeader {
        key,
        geometry: *geometry,
        num_tokens,
        first_layer: layers.start,
        num_layers: layers.len(),
        level: options.level,
        distortion: planes.errors.distortion(),
        preamble_bytes: planes.preamble.len(),
        encoded_bytes: bytes.len(),
    };
    let (head, body) = bytes.split_at_mut(HEADER_BYTES);
    head.copy_from_slice(&header.to_bytes(body));
    Ok(Segment { key, bytes })
}

fn encode_planes(isa: Isa, chunk: &KvChunk, level: Level, layers: Range<usize>, side: Side) -> Result<EncodedPlanes> {
    let geometry = chunk.geometry();
    let shape = PlaneShape::new(geometry, chunk.num_tokens());
    let mut planes = EncodedPlanes::default();
    for layer in layers {
        let plane = Plane { geometry, layer, side, shape, bytes: chunk.plane(layer, side) };
        levels::encode_plane(isa, level, &plane, &mut planes)?;
    }
    Ok(planes)
}
