//! Q2, CacheGen's quantizer as LMCache ships it, bit for bit, under our models. `FORMAT.md`, "Q2".
//!
//! Each token's channels, over all heads of one side of one layer, are scaled by their largest magnitude and rounded to
//! `2 * C + 1` steps. Decoded elements equal those that LMCache decodes.
//! Source: Liu et al., "CacheGen" (SIGCOMM 2024), section 5.2, as changed by LMCache: no anchor tokens, no deltas.

mod choice;
mod decode;
mod encode;
mod quantizer;

pub(super) use decode::decode_plane;
pub(super) use encode::encode_plane;

use crate::tile::{self, ALIGNMENT, rans::LANES};
use quantizer::Bins;

/// Bytes of a channel's parameters.
const PARAMETER_BYTES: usize = 1;
/// Bytes of a plane's preamble before its scales.
const PREAMBLE_HEADER_BYTES: usize = 4;

/// Bytes that one plane adds to the preamble: the number of bins, and each token's scale as an element.
pub(super) const fn preamble_bytes(element_bytes: usize, num_tokens: usize) -> usize {
    (PREAMBLE_HEADER_BYTES + num_tokens * element_bytes).next_multiple_of(ALIGNMENT)
}

/// Most bytes of a tile: a word for every symbol.
pub(super) const fn max_tile_bytes(head_dim: usize, num_tokens: usize) -> usize {
    let num_lanes = if num_tokens < LANES { num_tokens } else { LANES };
    tile::coded_bytes(head_dim * PARAMETER_BYTES, num_lanes, head_dim * num_tokens, 0)
}

/// How a channel is coded: its parameter byte, `width << log2(alphabet) | shift`.
///
/// The coded symbols are the quantized ones less `shift`, modulo the alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChannelCoding {
    /// 0: all symbols are `shift`, and none is coded; otherwise the model, one above its place among the bins' models.
    width: u8,
    shift: u8,
}

impl ChannelCoding {
    fn to_parameter(self, bins: Bins) -> u8 {
        self.width << bins.alphabet_bits() | self.shift
    }

    fn from_parameter(parameter: u8, bins: Bins) -> Self {
        Self { width: parameter >> bins.alphabet_bits(), shift: parameter & bins.alphabet_mask() }
    }
}
