//! Elements of bf16 to values, with the error that this makes.

use std::arch::x86_64::*;

use super::elements::{ValueTable, look_up, value_tables};
use super::lanes::{kept, load};
use super::turn::{HALF, to_rows};
use crate::plane::Plane;
use crate::rows::TileRows;
use crate::simd::avx2::ahead::Ahead;
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
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { quantize_wide(quantizer, plane, head, rows, errors) }
}

#[target_feature(enable = "avx512vbmi,avx512dq")]
fn quantize_wide(quantizer: &Quantizer, plane: &Plane<'_>, head: usize, rows: &mut TileRows, errors: &mut HeadErrors) {
    let (shape, stride) = (&plane.shape, plane.shape.token_bytes());
    let odd = kept(0xaaaa_aaaa_aaaa_aaaa);
    let mut largest = _mm512_setzero_ps();
    for (row, tables) in quantizer.tables.as_chunks().0.iter().enumerate() {
        let tables = value_tables(tables);
        let ahead = Ahead::of_row(shape, row);
        for block in 0..shape.num_blocks() {
            let Some(start) = shape.square_start(row * LANES, head, block) else { continue };
            let mut values = [_mm512_setzero_si512(); HALF];
            for (i, values) in values.iter_mut().enumerate() {
                let [first, second] = [i, HALF + i].map(|i| {
                    let line = plane.bytes[start + i * stride..].first_chunk().expect("a line is in its plane");
                    ahead.prefetch(line);
                    let token = row * LANES + i;
                    quantize_line(quantizer, token, line, &tables[i], &mut errors.squares[token], &mut largest)
                });
                *values = _mm512_mask_mov_epi8(first, odd, _mm512_slli_epi16::<8>(second));
            }
            to_rows(values, rows.block_mut(block)[row].as_flattened_mut(), LANES, 0);
        }
    }
    let before = load_sums(&errors.largest);
    let [low, high] = halves(largest);
    store_sums(&mut errors.largest, _mm256_max_ps(before, _mm256_max_ps(low, high)));
}

/// The values of a line, as words; takes its errors in.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq")]
fn quantize_line(
    quantizer: &Quantizer,
    token: usize,
    line: &[u8; 64],
    table: &ValueTable,
    squares: &mut [f32; PARTIAL_SUMS],
    largest: &mut __m512,
) -> __m512i {
    let exact = widen(load(line));
    let factor = quantizer.factors[token];
    let center = _mm512_set1_ps(f32::from(quantizer.center));
    let mut symbols = [_mm512_setzero_si512(); 2];
    // Without a factor all symbols are zero.
    if factor.is_finite() {
        for i in 0..2 {
            let scaled = _mm512_mul_ps(exact[i], _mm512_set1_ps(factor));
            symbols[i] = _mm512_cvtps_epi32(_mm512_add_ps(scaled, center));
        }
    }
    let symbols = _mm512_packs_epi32(symbols[0], symbols[1]);
    let values = _mm512_sub_epi16(symbols, _mm512_set1_epi16(i16::from(quantizer.center)));
    let decoded = widen(look_up(table, values));
    let mut squared = [[_mm256_setzero_ps(); 2]; 2];
    for i in 0..2 {
        let error = _mm512_sub_ps(decoded[i], exact[i]);
        *largest = _mm512_max_ps(*largest, _mm512_abs_ps(error));
        squared[i] = halves(_mm512_mul_ps(error, error));
    }
    let [[first, third], [second, fourth]] = squared;
    let sums = [first, second, third, fourth].into_iter().fold(load_sums(squares), |sums, squared| {
        // In the order of channels.
        _mm256_add_ps(sums, squared)
    });
    store_sums(squares, sums);
    values
}

/// Elements as `f32`: those of the low and of the high halves of each quarter.
#[inline]
#[target_feature(enable = "avx512bw")]
fn widen(line: __m512i) -> [__m512; 2] {
    let zero = _mm512_setzero_si512();
    [_mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, line)), _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, line))]
}

#[inline]
#[target_feature(enable = "avx512dq")]
fn halves(register: __m512) -> [__m256; 2] {
    [_mm512_castps512_ps256(register), _mm512_extractf32x8_ps::<1>(register)]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_sums(sums: &[f32; PARTIAL_SUMS]) -> __m256 {
    // SAFETY: the reference is to 8 readable numbers.
    unsafe { _mm256_loadu_ps(sums.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_sums(sums: &mut [f32; PARTIAL_SUMS], register: __m256) {
    // SAFETY: the reference is to 8 writable numbers.
    unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), register) }
}
