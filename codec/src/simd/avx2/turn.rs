//! Squares of bytes, turned.

use std::arch::x86_64::*;

use super::lanes::store;
use crate::rows::Square;

/// Rows that are turned together: the bytes of half a register.
pub(super) const HALF: usize = 16;

/// See [`crate::simd::turn()`].
pub(in crate::simd) fn turn(square: &Square, turned: &mut Square) {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { turn_square(square, turned) }
}

#[target_feature(enable = "avx2")]
fn turn_square(square: &Square, turned: &mut Square) {
    for first in [0, HALF] {
        let mut halves = [_mm256_setzero_si256(); HALF];
        for (i, halves) in halves.iter_mut().enumerate() {
            *halves = half_rows(square, [i, HALF + i], first);
        }
        for (to, register) in turned[first..].iter_mut().zip(turn_half(halves)) {
            store(to, register);
        }
    }
}

/// Half of each of two rows, from column `first` on.
#[inline]
#[target_feature(enable = "avx2")]
fn half_rows(square: &Square, rows: [usize; 2], first: usize) -> __m256i {
    let low = &square[rows[0]][first..first + HALF];
    let high = &square[rows[1]][first..first + HALF];
    // SAFETY: the references are to 16 readable bytes.
    unsafe { _mm256_loadu2_m128i(high.as_ptr().cast(), low.as_ptr().cast()) }
}

/// Half of each row, from column `first` on, so that after [`turn_half`] a register has a line, the middle quarters swapped:
/// see [`swap_middle`](super::bf16::swap_middle).
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn line_halves(square: &Square, first: usize) -> [__m256i; HALF] {
    let mut halves = [_mm256_setzero_si256(); HALF];
    for (i, halves) in halves.iter_mut().enumerate() {
        let row = i + i / 8 * 8;
        *halves = half_rows(square, [row, row + 8], first);
    }
    halves
}

/// Turns two squares of 16 bytes, one in each half of the registers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn turn_half(mut block: [__m256i; HALF]) -> [__m256i; HALF] {
    // Each step rotates the eight bits (register, byte of a half) by one; after four they have changed places.
    for _ in 0..4 {
        let mut next = block;
        for i in 0..HALF / 2 {
            next[2 * i] = _mm256_unpacklo_epi8(block[i], block[i + HALF / 2]);
            next[2 * i + 1] = _mm256_unpackhi_epi8(block[i], block[i + HALF / 2]);
        }
        block = next;
    }
    block
}

/// Writes what [`turn_half`] gives, of lines whose middle quarters were swapped: 16 tokens of each channel, from `at` on in
/// rows of `stride` bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn put_columns(columns: [__m256i; HALF], rows: &mut [u8], stride: usize, at: usize) {
    for (i, column) in columns.into_iter().enumerate() {
        let channel = i + i / 8 * 8;
        let halves = [_mm256_castsi256_si128(column), _mm256_extracti128_si256::<1>(column)];
        for (channel, half) in [channel, channel + 8].into_iter().zip(halves) {
            let to: &mut [u8; HALF] = rows[channel * stride + at..].first_chunk_mut().expect("a row has 16 tokens");
            // SAFETY: the reference is to 16 writable bytes.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), half) };
        }
    }
}
