//! Q1 and Q3: values of channels in steps, near-lossless in one layer or lossy in several. `FORMAT.md`, "Layered levels".
//!
//! Keys are turned back by their RoPE; each channel loses its mean, and is rounded to its own step under a model of its
//! spread. A base layer codes values; each refinement gives one bit more of the values that are there, and codes the
//! channels that are not yet. Which steps, and what else was tried: docs/decisions/0007.
//!
//! Sources: KVTC (arXiv:2511.01815) for RoPE undone; Gersho and Gray, "Vector Quantization", 5.5 and 8, for uniform
//! steps under entropy coding.

mod coding;
mod decode;
mod encode;
mod head;
mod recipe;
mod restore;
mod spread;
mod steps;
mod tiles;

pub(super) use decode::decode_plane;
pub(super) use encode::encode_plane;
pub(super) use recipe::Recipe;
pub(super) use spread::key_spread;
pub(super) use steps::{error_bound, exact_bytes};

use crate::tile::{self, ALIGNMENT};
use crate::{Geometry, Level};

/// Bytes of a channel's parameters in the base: code and mean.
const BASE_PARAMETER_BYTES: usize = 2;
/// Bytes of an escaped value.
const ESCAPE_BYTES: usize = 2;
/// Bytes of a plane's preamble in the base before its exact elements: step, scale of means, number of exact tokens.
const PREAMBLE_HEADER_BYTES: usize = 12;

/// Bytes of the parameters of a channel without values in the layers below.
pub(super) const fn parameter_bytes(quality: usize) -> usize {
    if quality == 0 { BASE_PARAMETER_BYTES } else { 1 }
}

/// How many of the channels that parameters are of have no values in this layer either.
pub(super) fn waiting_channels(quality: usize, parameters: &[u8]) -> usize {
    parameters.iter().step_by(parameter_bytes(quality)).filter(|&&code| code == 0).count()
}

/// Most bytes that one plane adds to the preamble of a base, and of a refinement nothing.
pub(super) const fn max_preamble_bytes(geometry: &Geometry, num_tokens: usize) -> usize {
    PREAMBLE_HEADER_BYTES + geometry.plane_bytes(num_tokens).next_multiple_of(ALIGNMENT)
}

/// Most bytes of a tile: a word, an escape and all raw bits for every value.
pub(super) const fn max_tile_bytes(head_dim: usize, num_tokens: usize) -> usize {
    let values = head_dim * num_tokens;
    let tail = values * ESCAPE_BYTES + values + head_dim * num_tokens.div_ceil(8) * Level::MAX_QUALITIES as usize;
    tile::coded_bytes(head_dim * BASE_PARAMETER_BYTES, num_tokens, values, tail)
}
