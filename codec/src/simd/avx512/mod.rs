//! AVX-512 kernels, where they gain over those of AVX2. A function here that is safe to call stands behind an
//! [`Isa`](super::Isa) of AVX-512.

mod decode;
mod dequantize;
mod elements;
mod encode;
mod halves;
mod join;
mod lanes;
mod quantize;
mod split;
mod turn;
mod values;

pub(super) use decode::decode_block;
pub(super) use dequantize::dequantize;
pub(super) use encode::encode_tile;
pub(super) use join::join;
pub(super) use quantize::quantize;
pub(super) use split::split;
pub(super) use turn::turn;
pub(super) use values::{from_symbols, put_fractions, take_fractions, to_symbols};
