//! What each level does with a plane: which symbols it makes of the elements, and how it makes elements of symbols.
//!
//! A level adds, per plane, an optional preamble (parameters of the whole plane) and one tile per kv head. To add a
//! level, give it a module here and its arms below; segments, tiles and models stay as they are.

mod q0;
mod q2;
mod values;

use crate::cursor::Cursor;
use crate::distortion::ErrorMeter;
use crate::element::with_element;
use crate::plane::{Plane, PlaneShape};
use crate::simd::Isa;
use crate::tile::index::{TileReader, TileWriter};
use crate::{Geometry, Level, Result};

/// Blocks of channels whose elements are written together: memory takes 256 bytes of a token at three times the rate at
/// which it takes 64.
const GROUP_BLOCKS: usize = 4;

/// What the planes of a segment encode to.
#[derive(Debug, Default)]
pub(crate) struct EncodedPlanes {
    pub(crate) preamble: Vec<u8>,
    pub(crate) tiles: TileWriter,
    pub(crate) errors: ErrorMeter,
}

/// Encodes one plane.
pub(crate) fn encode_plane(isa: Isa, level: Level, plane: &Plane<'_>, out: &mut EncodedPlanes) -> Result<()> {
    let dtype = plane.geometry.dtype();
    match level {
        Level::Q0 => with_element!(dtype, q0::encode_plane, isa, plane, &mut out.tiles),
        Level::Q2 => with_element!(dtype, q2::encode_plane, isa, plane, out)?,
    }
    Ok(())
}

/// Decodes one plane of `geometry` from its part of the preamble and its tiles, the next ones of both.
pub(crate) fn decode_plane(
    isa: Isa,
    level: Level,
    geometry: &Geometry,
    shape: &PlaneShape,
    preamble: &mut Cursor<'_>,
    tiles: &mut TileReader<'_>,
    plane: &mut [u8],
) -> Result<()> {
    match level {
        Level::Q0 => with_element!(geometry.dtype(), q0::decode_plane, isa, shape, tiles, plane),
        Level::Q2 => with_element!(geometry.dtype(), q2::decode_plane, isa, shape, preamble, tiles, plane),
    }
}

/// Bytes that one plane adds to the preamble.
pub(crate) const fn preamble_bytes(level: Level, geometry: &Geometry, num_tokens: usize) -> usize {
    match level {
        Level::Q0 => 0,
        Level::Q2 => q2::preamble_bytes(geometry.dtype().bytes(), num_tokens),
    }
}

/// Most bytes of a tile.
pub(crate) const fn max_tile_bytes(level: Level, geometry: &Geometry, num_tokens: usize) -> usize {
    match level {
        Level::Q0 => q0::max_tile_bytes(geometry, num_tokens),
        Level::Q2 => q2::max_tile_bytes(geometry.head_dim(), num_tokens),
    }
}
