//! Elements of bf16 to values, with the error that this makes.

use std::arch::x86_64::*;

use super::ahead::Ahead;
use super::bf16::{load_line, look_up, widen};
use super::turn::{HALF, put_columns, turn_half};
use crate::plane::Plane;
use crate::rows::TileRows;
use crate::simd::quantize::{HeadErrors, PARTIAL_SUMS, Quantizer};
use crate::tile::rans::LANES;

/// Quantizes the squares that [`PlaneShape::square_start`](crate::plane::PlaneShape::square_start) finds. See
/// [`crate::simd::quantize()`].
pub(in crate::simd) fn quantize(
    quantizer: &Quantizer,
    plane: &Plane<'_>,
    head: usize,
    rows: &mut TileRows,
    errors: &mut HeadErrors,
) {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { quantize_wide(quantizer, plane, head, rows, errors) }
}

#[target_feature(enable = "avx2")]
fn quantize_wide(quantizer: &Quantizer, plane: &Plane<'_>, head: usize, rows: &mut TileRows, errors: &mut HeadErrors) {
    let (shape, stride) = (&plane.shape, plane.shape.token_bytes());
    let mut largest = load_sums(&errors.largest);
    for row in 0..shape.num_tokens / LANES {
        let ahead = Ahead::of_row(shape, row);
        for block in 0..shape.num_blocks() {
            let Some(start) = shape.square_start(row * LANES, head, block) else { continue };
            let square = rows.block_mut(block)[row].as_flattened_mut();
            for first in [0, HALF] {
                let lines = &plane.bytes[start + first * stride..];
                let mut values = [_mm256_setzero_si256(); HALF];
                for (i, values) in values.iter_mut().enumerate() {
                    let line = lines[i * stride..].first_chunk().expect("a line is in its plane");
                    ahead.prefetch(line);
                    let token = row * LANES + first + i;
                    *values = quantize_line(quantizer, token, line, &mut errors.squares[token], &mut largest);
                }
                put_columns(turn_half(values), square, LANES, first);
            }
        }
    }
    store_sums(&mut errors.largest, largest);
}

/// The values of a line, the middle quarters swapped; takes its errors in.
#[inline]
#[target_feature(enable = "avx2")]
fn quantize_line(
    quantizer: &Quantizer,
    token: usize,
    line: &[u8; 64],
    squares: &mut [f32; PARTIAL_SUMS],
    largest: &mut __m256,
) -> __m256i {
    let exact = widen(load_line(line));
    let factor = quantizer.factors[token];
    let center = _mm256_set1_ps(f32::from(quantizer.center));
    let mut symbols = [_mm256_setzero_si256(); 4];
    // Without a factor all symbols are zero.
    if factor.is_finite() {
        for i in 0..4 {
            let scaled = _mm256_mul_ps(exact[i], _mm256_set1_ps(factor));
            symbols[i] = _mm256_cvtps_epi32(_mm256_add_ps(scaled, center));
        }
    }
    let packed = pack(symbols);
    let values = _mm256_sub_epi8(packed, _mm256_set1_epi8(quantizer.center.cast_signed()));
    let decoded = widen(look_up(&quantizer.tables[token], values, _mm256_abs_epi8(values)));
    let mut sums = load_sums(squares);
    for i in 0..4 {
        let error = _mm256_sub_ps(decoded[i], exact[i]);
        sums = _mm256_add_ps(sums, _mm256_mul_ps(error, error));
        *largest = _mm256_max_ps(*largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0), error));
    }
    store_sums(squares, sums);
    values
}

/// Words as bytes, the middle quarters swapped.
#[inline]
#[target_feature(enable = "avx2")]
fn pack(words: [__m256i; 4]) -> __m256i {
    _mm256_packs_epi16(_mm256_packs_epi32(words[0], words[1]), _mm256_packs_epi32(words[2], words[3]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_sums(sums: &[f32; PARTIAL_SUMS]) -> __m256 {
    // SAFETY: the reference is to 8 readable numbers.
    unsafe { _mm256_loadu_ps(sums.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_sums(sums: &mut [f32; PARTIAL_SUMS], register: __m256) {
    // SAFETY: the reference is to 8 writable numbers.
    unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), register) }
}
