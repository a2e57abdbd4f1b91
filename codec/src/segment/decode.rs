//! Segments to chunks.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::header::{HEADER_BYTES, SegmentHeader, check_checksum};
use crate::cursor::Cursor;
use crate::plane::PlaneShape;
use crate::tile::index::{ENTRY_BYTES, TileReader};
use crate::{Error, Geometry, Isa, KvChunk, Result, Side, levels};

/// Checks that `bytes` are a whole segment, unchanged since it was encoded: header, and checksum over all bytes.
///
/// # Errors
/// `Corrupt` when the bytes are not what an encoder wrote, `Incompatible` when they are but not for this build.
pub fn verify(bytes: &[u8]) -> Result<SegmentHeader> {
    check_checksum(bytes)?;
    SegmentHeader::parse(bytes)
}

/// Verifies a segment and decodes it into its planes of `into`.
///
/// After an error the content of those planes is unspecified.
///
/// # Errors
/// As [`verify`], `Corrupt` when the tiles contradict themselves, and `Incompatible` when geometry or number of tokens
/// are not those of `into`.
pub fn decode_segment(bytes: &[u8], into: &mut KvChunk) -> Result<SegmentHeader> {
    decode_segment_on(Isa::best(), bytes, into)
}

/// [`decode_segment`] with one instruction set.
pub(super) fn decode_segment_on(isa: Isa, bytes: &[u8], into: &mut KvChunk) -> Result<SegmentHeader> {
    let header = verify(bytes)?;
    check_shape(&header, into.geometry(), into.num_tokens())?;
    let shape = PlaneShape::new(into.geometry(), into.num_tokens());
    let mut body = Cursor::new(bytes, 0);
    body.take(HEADER_BYTES, "a segment's header")?;
    let index = body.split(header.num_tiles().saturating_mul(ENTRY_BYTES), "the index of tiles")?;
    let mut preamble = body.split(header.preamble_bytes, "the preamble")?;
    let mut tiles = TileReader::new(index, body);
    for layer in layers(&header) {
        let plane = into.plane_mut(layer, header.key().side);
        levels::decode_plane(isa, header.level(), header.geometry(), &shape, &mut preamble, &mut tiles, plane)?;
    }
    preamble.finish_padding(1)?;
    tiles.finish()?;
    Ok(header)
}

/// Decodes the segments of a chunk, in any order.
///
/// # Errors
/// As [`decode_segment`], and `Invalid` when a plane is covered by no segment or by two.
pub fn decode<'a>(
    geometry: Geometry,
    num_tokens: usize,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Result<KvChunk> {
    decode_on(Isa::best(), geometry, num_tokens, segments)
}

/// [`decode`] with one instruction set.
pub(super) fn decode_on<'a>(
    isa: Isa,
    geometry: Geometry,
    num_tokens: usize,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> Result<KvChunk> {
    let mut chunk = KvChunk::zeroed(geometry, num_tokens)?;
    let mut coverage = Coverage::new(geometry.num_layers());
    for bytes in segments {
        let header = decode_segment_on(isa, bytes, &mut chunk)?;
        layers(&header).try_for_each(|layer| coverage.add(layer, header.key().side))?;
    }
    coverage.finish()?;
    Ok(chunk)
}

fn layers(header: &SegmentHeader) -> std::ops::Range<usize> {
    header.first_layer()..header.first_layer().saturating_add(header.num_layers())
}

fn check_shape(header: &SegmentHeader, geometry: &Geometry, num_tokens: usize) -> Result<()> {
    if header.geometry() != geometry || header.num_tokens() != num_tokens {
        return Err(Error::Incompatible(format!(
            "a segment of {} tokens of {:?} where {num_tokens} tokens of {geometry:?} are wanted",
            header.num_tokens(),
            header.geometry()
        )));
    }
    Ok(())
}

/// Which planes have been decoded.
struct Coverage {
    layers: Vec<[bool; 2]>,
}

impl Coverage {
    fn new(num_layers: usize) -> Self {
        Self { layers: vec![[false; 2]; num_layers] }
    }

    fn add(&mut self, layer: usize, side: Side) -> Result<()> {
        let covered = self.layers.get_mut(layer).and_then(|sides| sides.get_mut(side as usize));
        match covered {
            Some(covered) if !*covered => *covered = true,
            _ => return Err(Error::Invalid(format!("two segments hold {side:?} of layer {layer}"))),
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let missing = self.layers.iter().enumerate().find_map(|(layer, sides)| {
            Side::BOTH.into_iter().zip(sides).find(|(_, covered)| !**covered).map(|(side, _)| (layer, side))
        });
        match missing {
            Some((layer, side)) => Err(Error::Invalid(format!("no segment holds {side:?} of layer {layer}"))),
            None => Ok(()),
        }
    }
}
