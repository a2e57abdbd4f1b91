//! AVX-512 kernels. A function here that is safe to call stands behind an [`Isa`](super::Isa) of AVX-512.

mod block;
mod decode;
mod encode;
mod state;
mod transpose;

pub(super) use block::{dequantize, join_bf16};
pub(super) use decode::decode_channels;
pub(super) use encode::encode_channels;

/// Channels of a block that kernels turn: those of a line of 64 bytes of 16-bit elements.
pub(super) const BLOCK_CHANNELS: usize = 32;
