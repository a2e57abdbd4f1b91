//! Lines of 32 elements of 16 bits.

use std::arch::x86_64::*;

use super::lanes::{load, load_table, store};
use crate::simd::dequantize::TokenTable;

/// A line's two registers.
pub(super) type Line = [__m256i; 2];

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_line(line: &[u8; 64]) -> Line {
    let (first, second) = line.split_first_chunk().expect("64 bytes");
    [load(first), load(second.first_chunk().expect("32 bytes"))]
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_line(line: &mut [u8; 64], registers: Line) {
    let (first, second) = line.split_first_chunk_mut().expect("64 bytes");
    store(first, registers[0]);
    store(second.first_chunk_mut().expect("32 bytes"), registers[1]);
}

/// Bytes in the order in which registers of words pack: the middle quarters change places, and a second time back.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn swap_middle(bytes: __m256i) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_01_10_00>(bytes)
}

/// Elements as `f32`: of each register, those of the low and of the high halves of its two lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn widen(line: Line) -> [__m256; 4] {
    let zero = _mm256_setzero_si256();
    let low = |words| _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, words));
    let high = |words| _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, words));
    [low(line[0]), high(line[0]), low(line[1]), high(line[1])]
}

/// The elements of values whose middle quarters are swapped; `magnitudes` are theirs.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn look_up(table: &TokenTable, values: __m256i, magnitudes: __m256i) -> Line {
    let low = _mm256_shuffle_epi8(load_table(&table[0]), magnitudes);
    let sign = _mm256_and_si256(values, _mm256_set1_epi8(i8::MIN));
    let high = _mm256_or_si256(_mm256_shuffle_epi8(load_table(&table[1]), magnitudes), sign);
    [_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)]
}

/// Largest magnitude of elements, whose bits but the sign are `magnitude`, as bits.
pub(in crate::simd) fn largest_magnitude(elements: &[[u8; 32]], magnitude: u16) -> u16 {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { largest_wide(elements, magnitude) }
}

#[target_feature(enable = "avx2")]
fn largest_wide(elements: &[[u8; 32]], magnitude: u16) -> u16 {
    let mask = _mm256_set1_epi16(magnitude.cast_signed());
    let largest = elements.iter().fold(_mm256_setzero_si256(), |largest, elements| {
        _mm256_max_epu16(largest, _mm256_and_si256(load(elements), mask))
    });
    let half = _mm_max_epu16(_mm256_castsi256_si128(largest), _mm256_extracti128_si256::<1>(largest));
    // The smallest of the complements, since there is an instruction for that.
    let least = _mm_minpos_epu16(_mm_xor_si128(half, _mm_set1_epi16(-1)));
    !_mm_cvtsi128_si32(least) as u16
}

/// See [`crate::simd::token_tables`].
pub(in crate::simd) fn token_tables(fractions: &[f32; 16], scales: &[f32]) -> Vec<TokenTable> {
    // SAFETY: the caller holds an `Isa` of AVX2.
    scales.iter().map(|&scale| unsafe { token_table(fractions, scale) }).collect()
}

#[target_feature(enable = "avx2")]
fn token_table(fractions: &[f32; 16], scale: f32) -> TokenTable {
    let elements = [0, 8].map(|first| {
        // SAFETY: the reference is to 8 readable numbers.
        let fractions = unsafe { _mm256_loadu_ps(fractions[first..first + 8].as_ptr()) };
        nearest(_mm256_mul_ps(fractions, _mm256_set1_ps(scale)))
    });
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(elements[0], elements[1]));
    let low = _mm256_and_si256(words, _mm256_set1_epi16(0xff));
    let planes = swap_middle(_mm256_packus_epi16(low, _mm256_srli_epi16::<8>(words)));
    let mut table = [[0; 16]; 4];
    let both: &mut [u8; 32] = table.as_flattened_mut().first_chunk_mut().expect("64 bytes");
    store(both, planes);
    table
}

/// The bits of the nearest bf16, ties to even, of finite values.
#[inline]
#[target_feature(enable = "avx2")]
fn nearest(values: __m256) -> __m256i {
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
    _mm256_srli_epi32::<16>(rounded)
}
