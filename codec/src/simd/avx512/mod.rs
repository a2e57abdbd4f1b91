//! AVX-512 kernels, where they gain over those of AVX2. A function here that is safe to call stands behind an
//! [`Isa`](super::Isa) of AVX-512.

mod decode;
mod encode;
mod halves;
mod lanes;
mod values;

pub(super) use decode::decode_block;
pub(super) use encode::encode_tile;
pub(super) use values::{from_symbols, put_fractions, take_fractions, to_symbols};
