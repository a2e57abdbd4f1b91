//! Rows of values to elements of 16 bits.

use std::arch::x86_64::*;

use super::elements::{ValueTable, look_up, value_tables};
use super::lanes::{load, store};
use super::turn::{HALF, from_rows};
use crate::plane::PlaneShape;
use crate::rows::Square;
use crate::simd::avx2::stage::{BLOCKS, Stage};
use crate::simd::dequantize::{Dequantizer, ValueBlock};
use crate::tile::rans::LANES;

/// Writes the elements of those squares that that [`PlaneShape::square_start`] finds, and says whether their values are
/// within the limit. See [`crate::simd::dequantize()`].
pub(in crate::simd) fn dequantize(
    dequantizer: &Dequantizer,
    blocks: &[ValueBlock<'_>],
    shape: &PlaneShape,
    plane: &mut [u8],
) -> bool {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { dequantize_wide(dequantizer, blocks, shape, plane) }
}

#[target_feature(enable = "avx512vbmi")]
fn dequantize_wide(dequantizer: &Dequantizer, blocks: &[ValueBlock<'_>], shape: &PlaneShape, plane: &mut [u8]) -> bool {
    let mut largest = _mm512_setzero_si512();
    let mut stage = Stage::new();
    for (row, tables) in dequantizer.tables.as_chunks().0.iter().enumerate() {
        let tables = value_tables(tables);
        for blocks in blocks.chunks(BLOCKS) {
            for values in blocks {
                if let Some(start) = shape.square_start(row * LANES, values.head, values.block) {
                    let block = stage.add(start);
                    let square = &values.rows[row];
                    largest = _mm512_max_epu8(largest, largest_magnitudes(square));
                    dequantize_square(&tables, square, &mut stage, block);
                }
            }
            stage.write(shape, plane);
        }
    }
    _mm512_cmpgt_epu8_mask(largest, _mm512_set1_epi8(dequantizer.limit.cast_signed())) == 0
}

#[inline]
#[target_feature(enable = "avx512bw")]
fn largest_magnitudes(square: &Square) -> __m512i {
    let mut largest = _mm512_setzero_si512();
    for values in square.as_flattened().as_chunks().0 {
        largest = _mm512_max_epu8(largest, _mm512_abs_epi8(load(values)));
    }
    largest
}

/// Puts the elements of a square.
#[inline]
#[target_feature(enable = "avx512vbmi")]
fn dequantize_square(tables: &[ValueTable; LANES], square: &Square, stage: &mut Stage, block: usize) {
    for (i, values) in from_rows(|channel| &square[channel]).into_iter().enumerate() {
        store(stage.line_mut(i, block), look_up(&tables[i], values));
        store(stage.line_mut(HALF + i, block), look_up(&tables[HALF + i], _mm512_srli_epi16::<8>(values)));
    }
}
