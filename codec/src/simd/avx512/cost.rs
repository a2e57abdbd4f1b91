//! Histograms of symbols, and code lengths under several models.

use std::arch::x86_64::*;

use crate::model::MAX_ALPHABET;
use crate::simd::cost::{CostTable, weigh_body};

/// Symbols of a register.
const WIDTH: usize = 64;

/// Counts symbols below 32.
pub(in crate::simd) fn histogram(symbols: &[u8]) -> [u32; MAX_ALPHABET] {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { count(symbols) }
}

/// See [`crate::simd::weigh`].
pub(in crate::simd) fn weigh(counts: &[u32], costs: &CostTable) -> [u32; MAX_ALPHABET] {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { weigh_wide(counts, costs) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn weigh_wide(counts: &[u32], costs: &CostTable) -> [u32; MAX_ALPHABET] {
    weigh_body(counts, costs)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn count(symbols: &[u8]) -> [u32; MAX_ALPHABET] {
    let mut counts = [0; MAX_ALPHABET];
    for chunk in symbols.chunks(WIDTH) {
        // No symbol, behind a short chunk.
        let mut padded = [u8::MAX; WIDTH];
        padded[..chunk.len()].copy_from_slice(chunk);
        // SAFETY: the reference is to 64 readable bytes.
        let register = unsafe { _mm512_loadu_si512(padded.as_ptr().cast()) };
        for (symbol, count) in (0i8..).zip(&mut counts) {
            *count += _mm512_cmpeq_epi8_mask(register, _mm512_set1_epi8(symbol)).count_ones();
        }
    }
    counts
}
