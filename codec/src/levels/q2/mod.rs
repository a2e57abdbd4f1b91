//! Q2, CacheGen's quantizer as LMCache ships it, bit for bit, under our models. `FORMAT.md`, "Q2".
//!
//! Each token's channels, over all heads of one side of one layer, are scaled by their largest magnitude and rounded to
//! `2 * C + 1` steps. Decoded elements equal those that LMCache decodes.
//! Source: Liu et al., "CacheGen" (SIGCOMM 2024), section 5.2, as changed by LMCache: no anchor tokens, no deltas.

mod coding;
mod decode;
mod encode;
mod quantizer;

pub(super) use decode::decode_plane;
pub(super) use encode::encode_plane;

use crate::tile::{self, ALIGNMENT};

/// Bytes of a channel's parameters.
pub(super) const PARAMETER_BYTES: usize = 1;
/// Bytes of a plane's preamble before its scales.
const PREAMBLE_HEADER_BYTES: usize = 4;

/// Bytes that one plane adds to the preamble: the number of bins, and each token's scale as an element.
pub(super) const fn preamble_bytes(element_bytes: usize, num_tokens: usize) -> usize {
    (PREAMBLE_HEADER_BYTES + num_tokens * element_bytes).next_multiple_of(ALIGNMENT)
}

/// Most bytes of a tile: a word and an escape for every symbol.
pub(super) const fn max_tile_bytes(head_dim: usize, num_tokens: usize) -> usize {
    tile::coded_bytes(head_dim * PARAMETER_BYTES, num_tokens, head_dim * num_tokens, head_dim * num_tokens)
}
