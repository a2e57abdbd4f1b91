//! AVX2 kernels. A function here that is safe to call stands behind an [`Isa`](super::Isa) of AVX2.

mod bf16;
mod cost;
mod decode;
mod dequantize;
mod encode;
mod lanes;
mod stage;
mod turn;
mod values;

pub(super) use bf16::{join_line, largest_magnitude, quantize_line, split_line, token_tables};
pub(super) use cost::weigh;
pub(super) use decode::decode_block;
pub(super) use dequantize::dequantize;
pub(super) use encode::encode_tiles;
pub(super) use stage::stream_lines;
pub(super) use turn::turn;
pub(super) use values::{from_symbols, moments, put_fractions, take_fractions, to_symbols};
