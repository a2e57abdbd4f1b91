//! Exponents and raw bits to elements of bf16.

use std::arch::x86_64::*;

use super::lanes::store;
use super::turn::{HALF, from_rows};
use crate::plane::PlaneShape;
use crate::simd::avx2::stage::{BLOCKS, Stage};
use crate::simd::bf16::PartsBlock;
use crate::tile::rans::LANES;

/// Joins the squares that [`PlaneShape::square_start`] finds. See [`crate::simd::join`].
pub(in crate::simd) fn join(blocks: &[PartsBlock<'_>], shape: &PlaneShape, plane: &mut [u8]) {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { join_wide(blocks, shape, plane) }
}

#[target_feature(enable = "avx512bw")]
fn join_wide(blocks: &[PartsBlock<'_>], shape: &PlaneShape, plane: &mut [u8]) {
    let mut stage = Stage::new();
    for row in 0..shape.num_tokens / LANES {
        for blocks in blocks.chunks(BLOCKS) {
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
#[target_feature(enable = "avx512bw")]
fn join_square(parts: &PartsBlock<'_>, row: usize, stage: &mut Stage, start: usize) {
    let block = stage.add(start);
    let exponents = from_rows(|channel| &parts.exponents[row][channel]);
    let raw = from_rows(|channel| parts.raw[channel][row * LANES..].first_chunk().expect("a row has 32 tokens"));
    for (i, (&exponents, &raw)) in exponents.iter().zip(&raw).enumerate() {
        let [first, second] = join_lines(exponents, raw);
        store(stage.line_mut(i, block), first);
        store(stage.line_mut(HALF + i, block), second);
    }
}

/// The elements of two lines, from the complements of their exponents and from their signs above their mantissas: those of the
/// first line are in the even bytes, those of the second in the odd ones.
#[inline]
#[target_feature(enable = "avx512bw")]
fn join_lines(exponents: __m512i, raw: __m512i) -> [__m512i; 2] {
    let first = with_exponents(_mm512_slli_epi16::<7>(exponents), raw, _mm512_slli_epi16::<8>(raw));
    let second = with_exponents(_mm512_srli_epi16::<1>(exponents), _mm512_srli_epi16::<8>(raw), raw);
    [first, second]
}

/// Words of three parts, each in its place: the sign, the complement of the exponent, the mantissa.
#[inline]
#[target_feature(enable = "avx512f")]
fn with_exponents(exponents: __m512i, mantissas: __m512i, signs: __m512i) -> __m512i {
    // Where the first has a bit, that of the second, else that of the third, or its complement.
    const SELECT: i32 = 0b1100_1010;
    const SELECT_COMPLEMENT: i32 = 0b1100_0101;
    let magnitudes = _mm512_ternarylogic_epi32::<SELECT_COMPLEMENT>(_mm512_set1_epi16(0x7f), mantissas, exponents);
    _mm512_ternarylogic_epi32::<SELECT>(_mm512_set1_epi16(i16::MIN), signs, magnitudes)
}
