//! What each level does with a plane: which symbols it makes of the elements, and how it makes elements of symbols.
//!
//! A level adds, per plane and quality layer, an optional preamble (parameters of the whole plane) and one tile per kv
//! head. To add a level, give it a module here and its arms below; segments, tiles and models stay as they are.

mod layered;
mod q0;
mod q2;
mod scratch;
mod values;

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::distortion::ErrorMeter;
use crate::element::with_element;
use crate::plane::{Plane, PlaneShape};
use crate::rope::{Position, Turns};
use crate::simd::Isa;
use crate::tile::index::{TileReader, TileWriter};
use crate::{Error, Geometry, KvChunk, Level, Result, Side};
use layered::Recipe;

pub(crate) use scratch::Scratch;

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

/// How far [`EncodedPlanes`] had come.
pub(crate) struct Mark {
    preamble_bytes: usize,
    tiles: [usize; 2],
    errors: ErrorMeter,
}

impl EncodedPlanes {
    /// Where they are, to come back to.
    fn mark(&self) -> Mark {
        Mark { preamble_bytes: self.preamble.len(), tiles: self.tiles.lengths(), errors: self.errors }
    }

    /// Drops what was added since.
    fn go_back(&mut self, mark: &Mark) {
        self.preamble.truncate(mark.preamble_bytes);
        self.tiles.truncate(mark.tiles);
        self.errors = mark.errors;
    }

    /// Forgets the planes and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.preamble.clear();
        self.tiles.clear();
        self.errors = ErrorMeter::default();
    }
}

/// What is left to decode of a segment.
#[derive(Debug)]
pub(crate) struct LayerParts<'a> {
    pub(crate) preamble: Cursor<'a>,
    pub(crate) tiles: TileReader<'a>,
}

/// What the encoding of a plane depends on besides the plane.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// The turns of keys, at levels that turn them back.
    turns: Option<Arc<Turns>>,
    /// The spread of all layers' keys.
    key_spread: f32,
    /// First tokens of the chunk that stay as they are.
    exact_tokens: usize,
}

impl Surroundings {
    /// Those of a chunk. `position` is known where the level needs it.
    pub(crate) fn new(
        isa: Isa,
        level: Level,
        chunk: &KvChunk,
        position: Option<Position>,
        exact_tokens: usize,
    ) -> Self {
        let Some(position) = position.filter(|_| level.needs_rope()) else { return Self::default() };
        let turns = Turns::of_chunk(position, chunk.geometry().head_dim(), chunk.num_tokens());
        if level == Level::Q1 {
            return Self { turns: Some(turns), ..Self::default() };
        }
        let (dtype, exact_tokens) = (chunk.geometry().dtype(), exact_tokens.min(chunk.num_tokens()));
        let key_spread = with_element!(dtype, layered::key_spread, isa, chunk, &turns, exact_tokens);
        Self { turns: Some(turns), key_spread, exact_tokens }
    }

    /// The turns of a side.
    fn turns(&self, side: Side) -> Option<&Turns> {
        self.turns.as_deref().filter(|_| side == Side::K)
    }
}

/// Encodes one plane into its quality layers.
pub(crate) fn encode_plane(
    isa: Isa,
    level: Level,
    plane: &Plane<'_>,
    around: &Surroundings,
    scratch: &mut Scratch,
    out: &mut [EncodedPlanes],
) -> Result<()> {
    let dtype = plane.geometry.dtype();
    match level {
        Level::Q0 => with_element!(dtype, q0::encode_plane, isa, plane, scratch, &mut out[0].tiles),
        Level::Q1 => {
            with_element!(dtype, layered::encode_plane, isa, plane, Recipe::NearLossless, around, scratch, out)?
        }
        Level::Q2 => with_element!(dtype, q2::encode_plane, isa, plane, scratch, &mut out[0])?,
        Level::Q3 => with_element!(dtype, layered::encode_plane, isa, plane, Recipe::Layered, around, scratch, out)?,
    }
    Ok(())
}

/// The error that says where an element is that is not finite.
fn not_finite(plane: &Plane<'_>, token: usize, channel: usize) -> Error {
    let (head, d) = (channel / plane.shape.head_dim, channel % plane.shape.head_dim);
    Error::Invalid(format!(
        "element {d} of kv head {head} in {:?} of layer {}, token {token}, is not finite: lossy levels take finite ones",
        plane.side, plane.layer
    ))
}

/// Decodes one plane of `geometry` from its parts of the preambles and its tiles, the next ones of each quality layer.
pub(crate) fn decode_plane(
    isa: Isa,
    level: Level,
    geometry: &Geometry,
    shape: &PlaneShape,
    turns: Option<&Turns>,
    layers: &mut [LayerParts<'_>],
    plane: &mut [u8],
) -> Result<()> {
    let Some(base) = layers.first_mut() else { return Ok(()) };
    let dtype = geometry.dtype();
    match level {
        Level::Q0 => with_element!(dtype, q0::decode_plane, isa, shape, &mut base.tiles, plane),
        Level::Q2 => {
            with_element!(dtype, q2::decode_plane, isa, shape, &mut base.preamble, &mut base.tiles, plane)
        }
        Level::Q1 | Level::Q3 => with_element!(dtype, layered::decode_plane, isa, shape, turns, layers, plane),
    }
}

/// Most bytes that one plane adds to the preamble of a quality layer.
pub(crate) const fn max_preamble_bytes(level: Level, quality: u8, geometry: &Geometry, num_tokens: usize) -> usize {
    match level {
        Level::Q0 => 0,
        Level::Q2 => q2::preamble_bytes(geometry.dtype().bytes(), num_tokens),
        Level::Q1 | Level::Q3 if quality > 0 => 0,
        Level::Q1 | Level::Q3 => layered::max_preamble_bytes(geometry, num_tokens),
    }
}

/// Bytes of the parameters in a tile of a quality layer, where `waiting` channels have no values in those below it.
pub(crate) const fn parameter_bytes(level: Level, quality: usize, waiting: usize) -> usize {
    waiting.saturating_mul(match level {
        Level::Q0 => q0::PARAMETER_BYTES,
        Level::Q2 => q2::PARAMETER_BYTES,
        Level::Q1 | Level::Q3 => layered::parameter_bytes(quality),
    })
}

/// How many of the channels that parameters are of still have no values then.
pub(crate) fn waiting_channels(level: Level, quality: usize, parameters: &[u8]) -> usize {
    match level {
        Level::Q0 | Level::Q2 => 0,
        Level::Q1 | Level::Q3 => layered::waiting_channels(quality, parameters),
    }
}

/// Bytes of the elements that the preamble of quality 0 has as they are.
pub(crate) fn exact_bytes(
    level: Level,
    shape: &PlaneShape,
    num_planes: usize,
    preamble: &mut Cursor<'_>,
) -> Result<usize> {
    match level {
        Level::Q0 | Level::Q2 => Ok(0),
        Level::Q1 | Level::Q3 => layered::exact_bytes(shape, num_planes, preamble),
    }
}

/// Most bytes of a tile.
pub(crate) const fn max_tile_bytes(level: Level, geometry: &Geometry, num_tokens: usize) -> usize {
    match level {
        Level::Q0 => q0::max_tile_bytes(geometry, num_tokens),
        Level::Q2 => q2::max_tile_bytes(geometry.head_dim(), num_tokens),
        Level::Q1 | Level::Q3 => layered::max_tile_bytes(geometry.head_dim(), num_tokens),
    }
}

/// The turns that decoding needs: those of keys, at levels that turned them back.
pub(crate) fn turns(
    level: Level,
    side: Side,
    position: Option<Position>,
    geometry: &Geometry,
    num_tokens: usize,
) -> Option<Arc<Turns>> {
    let position = position.filter(|_| level.needs_rope() && side == Side::K)?;
    Some(Turns::of_chunk(position, geometry.head_dim(), num_tokens))
}

/// The largest error that an element of a segment of `num_planes` planes can have, where the level has a bound.
pub(crate) fn error_bound(
    level: Level,
    shape: &PlaneShape,
    side: Side,
    num_planes: usize,
    preamble: &mut Cursor<'_>,
) -> Result<Option<f64>> {
    match level {
        Level::Q0 => Ok(Some(0.0)),
        Level::Q1 => layered::error_bound(shape, side, num_planes, preamble).map(Some),
        Level::Q2 | Level::Q3 => Ok(None),
    }
}
