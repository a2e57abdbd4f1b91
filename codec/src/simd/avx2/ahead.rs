//! Lines of a plane, brought near before they are read.
//!
//! A head's lines lie a token apart: the processor does not foresee them, and waits for memory at each.

use std::arch::x86_64::*;

use crate::plane::PlaneShape;
use crate::tile::rans::LANES;

/// How far ahead of a line the one lies that is read a row of tokens later.
#[derive(Clone, Copy)]
pub(in crate::simd) struct Ahead {
    distance: usize,
}

impl Ahead {
    /// For the lines of row `row` of a head: after the last whole row come the first tokens of the next head.
    #[inline]
    pub(in crate::simd) fn of_row(shape: &PlaneShape, row: usize) -> Self {
        let row_bytes = LANES * shape.token_bytes();
        let is_last = row + 1 == shape.num_tokens / LANES;
        Self { distance: if is_last { shape.head_bytes().wrapping_sub(row * row_bytes) } else { row_bytes } }
    }

    /// Asks for the line that is as far ahead of this one; it need not exist.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::simd) fn prefetch(self, line: &[u8; 64]) {
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(self.distance).cast());
    }
}
