//! How many bytes of segments are not of elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::decode::Group;
use super::header::HEADER_BYTES;
use crate::levels::{self, LayerParts};
use crate::plane::PlaneShape;
use crate::tile::Tile;
use crate::tile::index::ENTRY_BYTES;
use crate::{Result, SegmentHeader};

/// Bytes of the segments of one layer group and side, from quality 0 on, that do not stand for elements: headers, index,
/// preambles but for elements kept as they are, and of tiles their headers, parameters, states and padding. The rest are
/// words, raw bits, escapes, and elements as they are.
///
/// # Errors
/// As [`decode_layers`](crate::decode_layers).
///
/// # Examples
/// ```
/// use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, encode, metadata_bytes};
///
/// let chunk = KvChunk::zeroed(Geometry::new(2, 1, 64, Dtype::Bf16)?, 100)?;
/// let segments = encode(&chunk, &EncodeOptions::new(Level::Q0))?;
/// assert_eq!(metadata_bytes(&[&segments[0].bytes])?, segments[0].bytes.len(), "zeros have neither symbols nor raw bits");
/// # Ok::<(), kvdepot_codec::Error>(())
/// ```
pub fn metadata_bytes(segments: &[&[u8]]) -> Result<usize> {
    let group = Group::verify(segments)?;
    let base = group.base()?;
    let shape = PlaneShape::new(base.geometry(), base.num_tokens());
    let mut layers = group.parts()?;
    let mut metadata = layers.iter().fold(0usize, |sum, LayerParts { preamble, .. }| {
        let index = base.num_tiles().saturating_mul(ENTRY_BYTES);
        sum.saturating_add(HEADER_BYTES).saturating_add(index).saturating_add(preamble.remaining())
    });
    super::decode::read_position(base, &mut layers)?;
    if let Some(LayerParts { preamble, .. }) = layers.first_mut() {
        let exact = levels::exact_bytes(base.level(), &shape, base.num_layers(), preamble)?;
        metadata = metadata.saturating_sub(exact);
    }
    for _ in 0..base.num_tiles() {
        metadata = metadata.saturating_add(of_tiles(base, &mut layers)?);
    }
    Ok(metadata)
}

/// Bytes of the next tile of each quality layer.
fn of_tiles(base: &SegmentHeader, layers: &mut [LayerParts<'_>]) -> Result<usize> {
    let mut metadata = 0usize;
    let mut waiting = base.geometry().head_dim();
    for (quality, layer) in layers.iter_mut().enumerate() {
        let bytes = layer.tiles.next_tile()?;
        let tile_bytes = bytes.remaining();
        let parameter_bytes = levels::parameter_bytes(base.level(), quality, waiting);
        let tile = Tile::parse(bytes, parameter_bytes, base.num_tokens())?;
        metadata = metadata.saturating_add(tile_bytes.saturating_sub(tile.payload_bytes()));
        if let Tile::Coded { parameters, .. } = tile {
            waiting = levels::waiting_channels(base.level(), quality, parameters);
        }
    }
    Ok(metadata)
}
