//! AVX2 kernels. A function here that is safe to call stands behind an [`Isa`](super::Isa) of AVX2.

pub(super) mod ahead;
mod bf16;
mod cost;
mod counts;
mod decode;
mod dequantize;
mod encode;
mod halves;
mod join;
mod lanes;
mod quantize;
mod split;
pub(super) mod stage;
mod turn;
mod values;

pub(super) use bf16::{largest_magnitude, token_tables};
pub(super) use cost::cheapest;
pub(super) use counts::count_least;
pub(super) use decode::decode_block;
pub(super) use dequantize::dequantize;
pub(super) use encode::encode_tile;
pub(super) use join::join;
pub(super) use quantize::quantize;
pub(super) use split::split;
pub(super) use stage::stream_lines;
pub(super) use turn::turn;
pub(super) use values::{from_symbols, moments, put_fractions, take_fractions, to_symbols};
