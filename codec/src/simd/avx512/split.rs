//! Elements of bf16 to exponents and raw bits.

use std::arch::x86_64::*;

use super::lanes::{kept, load};
use super::turn::{HALF, to_rows};
use crate::plane::Plane;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::avx2::ahead::Ahead;
use crate::tile::rans::LANES;

/// Splits the squares that [`PlaneShape::square_start`](crate::plane::PlaneShape::square_start) finds. See
/// [`crate::simd::split`].
pub(in crate::simd) fn split(plane: &Plane<'_>, head: usize, exponents: &mut TileRows, raw: &mut [u8]) {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { split_wide(plane, head, exponents, raw) }
}

#[target_feature(enable = "avx512bw")]
fn split_wide(plane: &Plane<'_>, head: usize, exponents: &mut TileRows, raw: &mut [u8]) {
    let shape = &plane.shape;
    let (num_tokens, stride) = (shape.num_tokens, shape.token_bytes());
    for row in 0..num_tokens / LANES {
        let ahead = Ahead::of_row(shape, row);
        for block in 0..shape.num_blocks() {
            let Some(start) = shape.square_start(row * LANES, head, block) else { continue };
            let (of_exponents, of_raw) = split_lines(&plane.bytes[start..], stride, ahead);
            to_rows(of_exponents, exponents.block_mut(block)[row].as_flattened_mut(), LANES, 0);
            let raw = &mut raw[block * BLOCK_CHANNELS * num_tokens..][..BLOCK_CHANNELS * num_tokens];
            to_rows(of_raw, raw, num_tokens, row * LANES);
        }
    }
}

/// The two parts of 32 lines: the complements of exponents, and signs above mantissas.
#[inline]
#[target_feature(enable = "avx512bw")]
fn split_lines(lines: &[u8], stride: usize, ahead: Ahead) -> ([__m512i; HALF], [__m512i; HALF]) {
    let zero = _mm512_setzero_si512();
    let [mut exponents, mut raw] = [[zero; HALF]; 2];
    let odd = kept(0xaaaa_aaaa_aaaa_aaaa);
    for i in 0..HALF {
        let [first, second] = [i, HALF + i].map(|token| {
            let line = lines[token * stride..].first_chunk().expect("a line is in its plane");
            ahead.prefetch(line);
            load(line)
        });
        let both = _mm512_mask_mov_epi8(_mm512_srli_epi16::<7>(first), odd, _mm512_slli_epi16::<1>(second));
        exponents[i] = _mm512_xor_si512(both, _mm512_set1_epi8(-1));
        let mantissas = _mm512_mask_mov_epi8(first, odd, _mm512_slli_epi16::<8>(second));
        let signs = _mm512_mask_mov_epi8(_mm512_srli_epi16::<8>(first), odd, second);
        // Where the first has a bit, that of the second, else that of the third.
        raw[i] = _mm512_ternarylogic_epi32::<0b1100_1010>(_mm512_set1_epi8(i8::MIN), signs, mantissas);
    }
    (exponents, raw)
}
