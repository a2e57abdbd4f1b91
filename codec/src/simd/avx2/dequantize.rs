//! Rows of values to elements of 16 bits.

use std::arch::x86_64::*;

use super::bf16::look_up;
use super::stage::{self, Stage};
use super::turn::{HALF, line_halves, turn_half};
use crate::plane::PlaneShape;
use crate::rows::Square;
use crate::simd::dequantize::{Dequantizer, TokenTable, ValueBlock};
use crate::tile::rans::LANES;

/// Writes the elements of those squares that that [`PlaneShape::square_start`] finds, and says whether their values are
/// within the limit. See [`crate::simd::dequantize()`].
pub(in crate::simd) fn dequantize(
    dequantizer: &Dequantizer,
    blocks: &[ValueBlock<'_>],
    shape: &PlaneShape,
    plane: &mut [u8],
) -> bool {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { dequantize_wide(dequantizer, blocks, shape, plane) }
}

#[target_feature(enable = "avx2")]
fn dequantize_wide(dequantizer: &Dequantizer, blocks: &[ValueBlock<'_>], shape: &PlaneShape, plane: &mut [u8]) -> bool {
    let limit = _mm256_set1_epi8(dequantizer.limit.cast_signed());
    let mut largest = limit;
    let mut stage = Stage::new();
    for (row, tables) in dequantizer.tables.as_chunks().0.iter().enumerate() {
        for blocks in blocks.chunks(stage::BLOCKS) {
            for values in blocks {
                if let Some(start) = shape.square_start(row * LANES, values.head, values.block) {
                    let block = stage.add(start);
                    largest = _mm256_max_epu8(largest, dequantize_square(tables, &values.rows[row], &mut stage, block));
                }
            }
            stage.write(shape, plane);
        }
    }
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(largest, limit)) == -1
}

/// Puts the elements of a square, and gives the largest magnitudes.
#[inline]
#[target_feature(enable = "avx2")]
fn dequantize_square(tables: &[TokenTable; LANES], square: &Square, stage: &mut Stage, block: usize) -> __m256i {
    let mut largest = _mm256_setzero_si256();
    for first in [0, HALF] {
        let turned = turn_half(line_halves(square, first));
        for (i, &values) in turned.iter().enumerate() {
            let magnitudes = _mm256_abs_epi8(values);
            largest = _mm256_max_epu8(largest, magnitudes);
            stage.put(first + i, block, look_up(&tables[first + i], values, magnitudes));
        }
    }
    largest
}
