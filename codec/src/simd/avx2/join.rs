//! Exponents and raw bits to elements of bf16.

use std::arch::x86_64::*;

use super::bf16::Line;
use super::stage::{self, Stage};
use super::turn::{HALF, line_halves, turn_half};
use crate::plane::PlaneShape;
use crate::rows::BLOCK_CHANNELS;
use crate::simd::bf16::PartsBlock;
use crate::tile::rans::LANES;

/// Joins the squares that [`PlaneShape::square_start`] finds. See [`crate::simd::join`].
pub(in crate::simd) fn join(blocks: &[PartsBlock<'_>], shape: &PlaneShape, plane: &mut [u8]) {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { join_wide(blocks, shape, plane) }
}

#[target_feature(enable = "avx2")]
fn join_wide(blocks: &[PartsBlock<'_>], shape: &PlaneShape, plane: &mut [u8]) {
    let mut stage = Stage::new();
    for row in 0..shape.num_tokens / LANES {
        for blocks in blocks.chunks(stage::BLOCKS) {
            for parts in blocks {
                if let Some(start) = shape.square_start(row * LANES, parts.head, parts.block) {
                    join_square(parts, row, &mut stage, start);
                }
            }
            stage.write(shape, plane);
        }
    }
}

/// Puts the elements of a square.
#[inline]
#[target_feature(enable = "avx2")]
fn join_square(parts: &PartsBlock<'_>, row: usize, stage: &mut Stage, start: usize) {
    let block = stage.add(start);
    for first in [0, HALF] {
        let exponents = turn_half(line_halves(&parts.exponents[row], first));
        let raw = turn_half(line_halves_of(&parts.raw, row * LANES + first));
        for (i, (&exponents, &raw)) in exponents.iter().zip(&raw).enumerate() {
            stage.put(first + i, block, join_line(exponents, raw));
        }
    }
}

/// As [`line_halves`], from rows that lie apart.
#[inline]
#[target_feature(enable = "avx2")]
fn line_halves_of(rows: &[&[u8]; BLOCK_CHANNELS], first: usize) -> [__m256i; HALF] {
    let mut halves = [_mm256_setzero_si256(); HALF];
    for (i, halves) in halves.iter_mut().enumerate() {
        let row = i + i / 8 * 8;
        let (low, high) = (&rows[row][first..first + HALF], &rows[row + 8][first..first + HALF]);
        // SAFETY: the references are to 16 readable bytes.
        *halves = unsafe { _mm256_loadu2_m128i(high.as_ptr().cast(), low.as_ptr().cast()) };
    }
    halves
}

/// The elements of a line from the complements of their exponents, and their signs above their mantissas; the middle
/// quarters of both are swapped.
#[inline]
#[target_feature(enable = "avx2")]
fn join_line(exponents: __m256i, raw: __m256i) -> Line {
    let exponents = _mm256_xor_si256(exponents, _mm256_set1_epi8(-1));
    let sign = _mm256_set1_epi8(i8::MIN);
    let last_bit = _mm256_and_si256(_mm256_slli_epi16::<7>(exponents), sign);
    let low = _mm256_or_si256(_mm256_andnot_si256(sign, raw), last_bit);
    let first_bits = _mm256_andnot_si256(sign, _mm256_srli_epi16::<1>(exponents));
    let high = _mm256_or_si256(_mm256_and_si256(raw, sign), first_bits);
    [_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)]
}
