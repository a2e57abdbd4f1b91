//! Q0, lossless: exponents under the models, sign and mantissa raw. `FORMAT.md`, "Q0".
//!
//! A channel's exponents lie in a window below its top; what falls outside of it is an escape. A tile that would not
//! shrink holds its elements as they are.

mod choice;
mod decode;
mod encode;

pub(super) use decode::decode_plane;
pub(super) use encode::encode_plane;

use crate::model::{Model, model_set};
use crate::simd::{ChannelModel, Window};
use crate::{Geometry, tile};

/// Bytes of a channel's parameters.
pub(super) const PARAMETER_BYTES: usize = 2;
/// Bits of an escape.
const ESCAPE_BITS: u32 = 8;

/// Most bytes of a tile: verbatim is the fallback.
pub(super) const fn max_tile_bytes(geometry: &Geometry, num_tokens: usize) -> usize {
    tile::verbatim_bytes(num_tokens * geometry.head_dim() * geometry.dtype().bytes())
}

/// How a channel is coded: its two parameter bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelCoding {
    /// Every bit of every element is zero: neither symbols nor raw bits.
    Zero,
    /// All exponents are equal: raw bits alone.
    Constant { exponent: u8 },
    /// Distances of the exponents below `top`, under one of the exponent models.
    Window { model: u8, top: u8 },
}

impl ChannelCoding {
    const ZERO: u8 = 0;
    const CONSTANT: u8 = 1;
    const FIRST_MODEL: u8 = 2;

    fn to_parameters(self) -> [u8; PARAMETER_BYTES] {
        match self {
            Self::Zero => [Self::ZERO, 0],
            Self::Constant { exponent } => [Self::CONSTANT, exponent],
            Self::Window { model, top } => [Self::FIRST_MODEL + model, top],
        }
    }

    fn from_parameters([code, value]: [u8; PARAMETER_BYTES]) -> Option<Self> {
        match code {
            Self::ZERO => (value == 0).then_some(Self::Zero),
            Self::CONSTANT => Some(Self::Constant { exponent: value }),
            _ => {
                let model = code - Self::FIRST_MODEL;
                (usize::from(model) < model_set().exponents.len()).then_some(Self::Window { model, top: value })
            }
        }
    }

    /// The model of the channel's symbols, if it has any.
    fn model(self) -> Option<&'static Model> {
        match self {
            Self::Window { model, .. } => model_set().exponents.get(usize::from(model)),
            Self::Zero | Self::Constant { .. } => None,
        }
    }

    /// How the channel's symbols decode, if it has any.
    fn channel_model(self) -> Option<ChannelModel> {
        self.model().zip(self.window()).map(|(model, window)| ChannelModel { model, bias: window.bias() })
    }

    /// The window of the channel's symbols, on the complements of exponents: they grow as exponents fall below the top.
    fn window(self) -> Option<Window> {
        match self {
            Self::Window { top, .. } => Some(Window { base: !top, len: self.model()?.len(), raw_bits: 0 }),
            Self::Zero | Self::Constant { .. } => None,
        }
    }
}
