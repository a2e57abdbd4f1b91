//! The hot loops, for each instruction set: rANS, and the way between rows of symbols and elements of a plane.
//!
//! This module owns the choice of instruction set and all of the crate's `unsafe` code. Invariant: every path gives the
//! bytes, elements and kinds of error of the scalar one.

mod bf16;
mod cost;
mod counts;
mod decode;
mod dequantize;
mod encode;
mod isa;
#[allow(unsafe_code, reason = "calls of functions compiled for an instruction set")]
mod line_coder;
#[allow(unsafe_code, reason = "calls of functions compiled for an instruction set")]
mod lines;
mod magnitude;
mod quantize;
mod turn;
mod values;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "loads and stores of vectors, and calls of functions compiled for an instruction set")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "loads and stores of vectors, and calls of functions compiled for an instruction set")]
mod avx512;

pub(crate) use bf16::{PartsBlock, join, split};
pub(crate) use cost::{CostTable, MAX_MODELS, cheapest};
pub(crate) use counts::{COUNTED, LeastCounts, count_least};
pub(crate) use decode::{BlockModels, ChannelModel, Escaped, TILES, decode_block};
pub(crate) use dequantize::{Dequantizer, ValueBlock, dequantize, token_tables};
pub(crate) use encode::encode_tile;
pub use isa::Isa;
pub(crate) use line_coder::{Grid, Knowledge, Line, LineCoder, code_line};
pub(crate) use lines::{CodedLine, FarNumber, Scales, add_moments, gather, put_lines, restore};
pub(crate) use magnitude::largest_magnitude;
pub(crate) use quantize::{HeadErrors, Quantizer, quantize};
pub(crate) use turn::turn_into;
pub(crate) use values::{
    Moments, Outside, RUN, Window, from_symbols, from_symbols_short, moments, put_fractions, take_fractions,
    to_symbols, to_symbols_short,
};
