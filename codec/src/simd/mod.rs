//! The hot loops, for each instruction set: rANS, and the way between rows of symbols and elements of a plane.
//!
//! This module owns the choice of instruction set and all of the crate's `unsafe` code. Invariant: every path gives the
//! bytes, elements and kinds of error of the scalar one.

mod cost;
mod decode;
mod dequantize;
mod encode;
mod isa;
mod join;
mod quantize;
mod scale;
mod split;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "loads and stores of vectors, and calls of functions compiled for an instruction set")]
mod avx512;

pub(crate) use cost::{CostTable, histogram, weigh};
pub(crate) use decode::{TILES, decode_channels};
pub(crate) use dequantize::{Dequantizer, dequantize};
pub(crate) use encode::encode_channels;
pub use isa::Isa;
pub(crate) use join::{Bf16Rows, join_bf16};
pub(crate) use quantize::{HeadErrors, Quantizer, quantize};
pub(crate) use scale::largest_magnitude;
pub(crate) use split::split_bf16;
