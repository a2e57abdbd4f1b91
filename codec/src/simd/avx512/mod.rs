//! AVX-512 kernels. A function here that is safe to call stands behind an [`Isa`](super::Isa) of AVX-512.

mod block;
mod cost;
mod decode;
mod encode;
mod quantize;
mod split;
mod state;
mod transpose;

pub(super) use block::{dequantize, join_bf16};
pub(super) use cost::{histogram, largest_magnitude, weigh};
pub(super) use decode::decode_channels;
pub(super) use encode::encode_channels;
pub(super) use quantize::quantize;
pub(super) use split::split_bf16;

/// Channels of a block that kernels turn: those of a line of 64 bytes of 16-bit elements.
pub(super) const BLOCK_CHANNELS: usize = 32;
