//! Elements of bf16 to exponents and raw bits.

use std::arch::x86_64::*;

use super::ahead::Ahead;
use super::bf16::load_line;
use super::turn::{HALF, put_columns, turn_half};
use crate::plane::Plane;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::tile::rans::LANES;

/// Splits the squares that [`PlaneShape::square_start`](crate::plane::PlaneShape::square_start) finds. See
/// [`crate::simd::split`].
pub(in crate::simd) fn split(plane: &Plane<'_>, head: usize, exponents: &mut TileRows, raw: &mut [u8]) {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { split_wide(plane, head, exponents, raw) }
}

#[target_feature(enable = "avx2")]
fn split_wide(plane: &Plane<'_>, head: usize, exponents: &mut TileRows, raw: &mut [u8]) {
    let shape = &plane.shape;
    let (num_tokens, stride) = (shape.num_tokens, shape.token_bytes());
    for row in 0..num_tokens / LANES {
        let ahead = Ahead::of_row(shape, row);
        for block in 0..shape.num_blocks() {
            let Some(start) = shape.square_start(row * LANES, head, block) else { continue };
            let square = &mut exponents.block_mut(block)[row];
            let raw = &mut raw[block * BLOCK_CHANNELS * num_tokens..][..BLOCK_CHANNELS * num_tokens];
            for first in [0, HALF] {
                let lines = &plane.bytes[start + first * stride..];
                let (of_exponents, of_raw) = split_lines(lines, stride, ahead);
                put_columns(turn_half(of_exponents), square.as_flattened_mut(), LANES, first);
                put_columns(turn_half(of_raw), raw, num_tokens, row * LANES + first);
            }
        }
    }
}

/// The two parts of 16 lines; the middle quarters of each register are swapped.
#[inline]
#[target_feature(enable = "avx2")]
fn split_lines(lines: &[u8], stride: usize, ahead: Ahead) -> ([__m256i; HALF], [__m256i; HALF]) {
    let (low_byte, sign) = (_mm256_set1_epi16(0xff), _mm256_set1_epi8(i8::MIN));
    let zero = _mm256_setzero_si256();
    let [mut exponents, mut raw] = [[zero; HALF]; 2];
    for i in 0..HALF {
        let line = lines[i * stride..].first_chunk().expect("a line is in its plane");
        ahead.prefetch(line);
        let line = load_line(line);
        let low = _mm256_packus_epi16(_mm256_and_si256(line[0], low_byte), _mm256_and_si256(line[1], low_byte));
        let high = _mm256_packus_epi16(_mm256_srli_epi16::<8>(line[0]), _mm256_srli_epi16::<8>(line[1]));
        let last_bit = _mm256_cmpgt_epi8(zero, low);
        let exponent = _mm256_sub_epi8(_mm256_add_epi8(high, high), last_bit);
        exponents[i] = _mm256_xor_si256(exponent, _mm256_set1_epi8(-1));
        raw[i] = _mm256_or_si256(_mm256_andnot_si256(sign, low), _mm256_and_si256(high, sign));
    }
    (exponents, raw)
}
