//! Histograms of symbols, and code lengths under several models.

use std::arch::x86_64::*;

use crate::model::MAX_ALPHABET;
use crate::simd::cost::CostTable;

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

#[target_feature(enable = "avx512f")]
fn weigh_wide(counts: &[u32], costs: &CostTable) -> [u32; MAX_ALPHABET] {
    let (mut low, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (&count, costs) in counts.iter().zip(costs) {
        let count = _mm512_set1_epi32(count.cast_signed());
        // SAFETY: the reference is to 128 readable bytes.
        let [of_low, of_high] =
            unsafe { [_mm512_loadu_si512(costs.as_ptr().cast()), _mm512_loadu_si512(costs[16..].as_ptr().cast())] };
        low = _mm512_add_epi32(low, _mm512_mullo_epi32(count, of_low));
        high = _mm512_add_epi32(high, _mm512_mullo_epi32(count, of_high));
    }
    let mut sums = [0; MAX_ALPHABET];
    // SAFETY: the reference is to 128 writable bytes.
    unsafe {
        _mm512_storeu_si512(sums.as_mut_ptr().cast(), low);
        _mm512_storeu_si512(sums[16..].as_mut_ptr().cast(), high);
    }
    sums
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

/// Largest magnitude of 16-bit elements, as bits.
pub(in crate::simd) fn largest_magnitude(elements: &[[u8; 2]], magnitude: u16) -> u16 {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { largest(elements, magnitude) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn largest(elements: &[[u8; 2]], magnitude: u16) -> u16 {
    let (registers, rest) = elements.as_chunks::<32>();
    let mask = _mm512_set1_epi16(magnitude.cast_signed());
    let mut largest = _mm512_setzero_si512();
    for register in registers {
        // SAFETY: the reference is to 64 readable bytes.
        let register = unsafe { _mm512_loadu_si512(register.as_ptr().cast()) };
        largest = _mm512_max_epu16(largest, _mm512_and_si512(register, mask));
    }
    let mut lanes = [0u16; 32];
    // SAFETY: the reference is to 64 writable bytes.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), largest) };
    let rest = rest.iter().map(|&element| u16::from_le_bytes(element) & magnitude);
    lanes.into_iter().chain(rest).fold(0, u16::max)
}
