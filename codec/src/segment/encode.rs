//! Chunks to segments.

use std::ops::Range;

use rayon::prelude::*;

use super::rope_fields::RopeFields;
use super::{HEADER_BYTES, Segment, SegmentHeader};
use crate::levels::{self, EncodedPlanes, Scratch, Surroundings};
use crate::plane::Plane;
use crate::rope::Position;
use crate::{Error, Geometry, Isa, KvChunk, Level, Result, Rope, SegmentKey, Side, bounds};

/// How to encode a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncodeOptions {
    /// Point on the quality ladder.
    pub level: Level,
    /// Layers in each segment, at least 1; the last group may have fewer.
    pub layers_per_group: u16,
    /// RoPE of the keys; q3 needs it, other levels do not look at it.
    pub rope: Option<Rope>,
    /// Position of the chunk's first token in its context.
    pub first_position: u64,
    /// First tokens of a context that q3 leaves as they are: attention sinks, whose KV is unlike any other's.
    pub exact_tokens: u16,
}

impl EncodeOptions {
    /// One layer per segment: the finest order of transfer, at less than a hundredth of the bytes.
    pub const fn new(level: Level) -> Self {
        Self { level, layers_per_group: 1, rope: None, first_position: 0, exact_tokens: 1 }
    }

    /// The same for a chunk at a position of a context whose keys have this RoPE.
    pub const fn at(self, rope: Rope, first_position: u64) -> Self {
        Self { rope: Some(rope), first_position, ..self }
    }

    /// Keys of the segments that a chunk encodes into, in ascending order.
    pub fn segment_keys(&self, geometry: &Geometry) -> impl Iterator<Item = SegmentKey> + use<> {
        let (level, num_groups) = (self.level, self.num_groups(geometry));
        (0..Level::MAX_QUALITIES).flat_map(move |quality| {
            let groups = (0..num_groups).flat_map(|group| Side::BOTH.map(|side| (group, side)));
            groups
                .filter(move |(_, side)| quality < level.qualities(*side))
                .map(move |(layer_group, side)| SegmentKey { quality, layer_group, side })
        })
    }

    /// Runs of layers that segments are cut by: see [`encode_group`].
    pub fn num_groups(&self, geometry: &Geometry) -> u16 {
        geometry.num_layers().div_ceil(self.group_size()) as u16
    }

    /// Layer groups and sides, in order.
    fn groups(&self, geometry: &Geometry) -> Vec<(u16, Side)> {
        (0..self.num_groups(geometry)).flat_map(|group| Side::BOTH.map(|side| (group, side))).collect()
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
/// Equal chunks and options give equal bytes. Runs on the threads of the current rayon pool.
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
    let isa = Isa::best();
    let around = surroundings(isa, chunk, options)?;
    let encode =
        |room: &mut Room, (layer_group, side)| encode_planes(isa, chunk, options, &around, layer_group, side, room);
    let groups = options.groups(chunk.geometry()).into_par_iter();
    let segments = groups.map_init(Room::default, encode).collect::<Result<Vec<_>>>()?;
    Ok(sorted(segments))
}

/// [`encode`] with one instruction set and one thread.
pub(super) fn encode_on(isa: Isa, chunk: &KvChunk, options: &EncodeOptions) -> Result<Vec<Segment>> {
    let around = surroundings(isa, chunk, options)?;
    let mut room = Room::default();
    let encode = |(layer_group, side)| encode_planes(isa, chunk, options, &around, layer_group, side, &mut room);
    let segments = options.groups(chunk.geometry()).into_iter().map(encode).collect::<Result<Vec<_>>>()?;
    Ok(sorted(segments))
}

/// All segments in the order of their keys.
fn sorted(segments: Vec<Vec<Segment>>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = segments.into_iter().flatten().collect();
    segments.sort_by_key(|segment| segment.key);
    segments
}

/// Encodes one segment of a chunk: one of [`EncodeOptions::segment_keys`].
///
/// The quality layers of a layer group come of one pass: who wants them all takes [`encode_group`].
///
/// # Errors
/// `Invalid` as for [`encode`], and when the options have no such key.
pub fn encode_segment(chunk: &KvChunk, options: &EncodeOptions, key: SegmentKey) -> Result<Segment> {
    let segments = encode_group(chunk, options, key.layer_group, key.side)?;
    let no_such = || Error::Invalid(format!("no {key:?} at {} with {}", options.level, options.layers_per_group));
    segments.into_iter().find(|segment| segment.key == key).ok_or_else(no_such)
}

/// Encodes one side of one layer group of a chunk into the segments of all its quality layers. Callers may run these in
/// parallel.
///
/// # Errors
/// `Invalid` as for [`encode`], and when the options have no such group.
pub fn encode_group(chunk: &KvChunk, options: &EncodeOptions, layer_group: u16, side: Side) -> Result<Vec<Segment>> {
    encode_group_on(Isa::best(), chunk, options, layer_group, side)
}

/// [`encode_group`] with one instruction set.
pub(super) fn encode_group_on(
    isa: Isa,
    chunk: &KvChunk,
    options: &EncodeOptions,
    layer_group: u16,
    side: Side,
) -> Result<Vec<Segment>> {
    encode_planes(isa, chunk, options, &surroundings(isa, chunk, options)?, layer_group, side, &mut Room::default())
}

/// RoPE and position, where the level needs them.
fn position(options: &EncodeOptions) -> Result<Option<Position>> {
    let EncodeOptions { level, rope, first_position, .. } = *options;
    if !level.needs_rope() {
        return Ok(None);
    }
    let rope = rope.ok_or_else(|| Error::Invalid(format!("level {level} needs to know the keys' RoPE")))?;
    rope.check()?;
    Ok(Some(Position { rope, first_position }))
}

fn surroundings(isa: Isa, chunk: &KvChunk, options: &EncodeOptions) -> Result<Surroundings> {
    let exact_tokens = u64::from(options.exact_tokens).saturating_sub(options.first_position) as usize;
    Ok(Surroundings::new(isa, options.level, chunk, position(options)?, exact_tokens))
}

/// Room of one thread, kept from group to group.
#[derive(Default)]
struct Room {
    scratch: Scratch,
    /// What the planes of a group encode to, in each quality layer.
    planes: Vec<EncodedPlanes>,
}

/// Encodes a group's planes.
fn encode_planes(
    isa: Isa,
    chunk: &KvChunk,
    options: &EncodeOptions,
    around: &Surroundings,
    layer_group: u16,
    side: Side,
    room: &mut Room,
) -> Result<Vec<Segment>> {
    let Room { scratch, planes } = room;
    let layers = options.layers(chunk.geometry(), layer_group);
    if layers.is_empty() {
        return Err(Error::Invalid(format!(
            "no layer group {layer_group} with {} layers each",
            options.layers_per_group
        )));
    }
    let bound = bounds::segment_bytes(chunk.geometry(), chunk.num_tokens(), options);
    if bound > bounds::MAX_SEGMENT_BYTES {
        let limit = bounds::MAX_SEGMENT_BYTES;
        return Err(Error::Invalid(format!("a segment may take {bound} bytes, the limit is {limit}")));
    }
    planes.resize_with(usize::from(options.level.qualities(side)), EncodedPlanes::default);
    planes.iter_mut().for_each(EncodedPlanes::clear);
    let position = position(options)?.filter(|_| side == Side::K);
    if let (Some(position), Some(base)) = (&position, planes.first_mut()) {
        RopeFields::write_scaling(position, &mut base.preamble);
    }
    for layer in layers.clone() {
        levels::encode_plane(isa, options.level, &Plane::of_chunk(chunk, layer, side), around, scratch, planes)?;
    }
    let rope = position.map(|position| RopeFields::new(&position));
    let mut refined = 0;
    let segments = (0..).zip(planes).map(|(quality, planes)| {
        let key = SegmentKey { quality, layer_group, side };
        let header = SegmentHeader {
            key,
            geometry: *chunk.geometry(),
            num_tokens: chunk.num_tokens(),
            first_layer: layers.start,
            num_layers: layers.len(),
            level: options.level,
            distortion: planes.errors.distortion(),
            rope,
            preamble_bytes: planes.preamble.len(),
            encoded_bytes: 0,
            refined,
            checksum: 0,
        };
        let (segment, checksum) = seal(header, planes);
        refined = checksum;
        segment
    });
    Ok(segments.collect())
}

/// Puts a segment together; gives its checksum too.
fn seal(header: SegmentHeader, planes: &EncodedPlanes) -> (Segment, u64) {
    let mut bytes =
        [&[0; HEADER_BYTES], planes.tiles.index(), planes.preamble.as_slice(), planes.tiles.tiles()].concat();
    let header = SegmentHeader { encoded_bytes: bytes.len(), ..header };
    let (head, body) = bytes.split_at_mut(HEADER_BYTES);
    let fields = header.to_bytes(body);
    head.copy_from_slice(&fields);
    let checksum = fields.last_chunk().map_or(0, |checksum| u64::from_le_bytes(*checksum));
    (Segment { key: header.key, bytes }, checksum)
}
