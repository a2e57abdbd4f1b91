//! Room for what comes between the elements of a plane and its tiles, kept from plane to plane.

use crate::model::Model;
use crate::plane::PlaneShape;
use crate::rows::TileRows;
use crate::simd::{self, HeadErrors, Isa};
use crate::tile::CodedTile;
use crate::tile::rans::Encoder;

/// Room of one thread that encodes.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Values of a head, then its symbols.
    pub(super) values: TileRows,
    /// Bits below values, at levels that have some.
    pub(super) fractions: TileRows,
    /// Numbers of a plane, `[kv_head][token][head_dim]`, at levels that look at them twice.
    pub(super) lines: Vec<f32>,
    /// Errors of a head, of each quality layer.
    pub(super) errors: Vec<HeadErrors>,
    pub(super) tile: TileScratch,
}

impl Scratch {
    /// Makes rows and coder fit planes of a shape.
    pub(super) fn fit(&mut self, shape: &PlaneShape) {
        if (self.values.num_channels(), self.values.num_tokens()) != (shape.head_dim, shape.num_tokens) {
            self.values = TileRows::zeroed(shape.head_dim, shape.num_tokens);
            self.fractions = TileRows::zeroed(shape.head_dim, shape.num_tokens);
            self.tile.encoder = Encoder::new(shape.head_dim * shape.num_tokens, shape.num_tokens);
        }
    }

    /// Forgets the errors, and has room for those of this many quality layers.
    pub(super) fn clear_errors(&mut self, num_tokens: usize, qualities: usize) {
        self.errors.resize_with(qualities, HeadErrors::default);
        self.errors.iter_mut().for_each(|errors| errors.clear(num_tokens));
    }
}

/// A tile while it is put together, channel by channel.
#[derive(Debug, Default)]
pub(super) struct TileScratch {
    encoder: Encoder,
    pub(super) parameters: Vec<u8>,
    /// The models of the channels that have symbols.
    pub(super) models: Vec<Option<&'static Model>>,
    pub(super) raw: Vec<u8>,
    pub(super) escapes: Vec<u8>,
}

impl TileScratch {
    /// Forgets all channels.
    pub(super) fn clear(&mut self) {
        self.parameters.clear();
        self.models.clear();
        self.raw.clear();
        self.escapes.clear();
    }

    /// The tile of all channels, whose symbols are in `rows`.
    pub(super) fn encode(&mut self, isa: Isa, rows: &TileRows) -> CodedTile<'_> {
        simd::encode_tile(isa, &self.models, rows, &mut self.encoder);
        CodedTile {
            parameters: &self.parameters,
            has_states: self.models.iter().any(Option::is_some),
            stream: &self.encoder,
            raw: &self.raw,
            escapes: &self.escapes,
        }
    }
}
