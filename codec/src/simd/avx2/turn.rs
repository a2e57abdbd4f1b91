//! Squares of bytes, turned.

use std::arch::x86_64::*;

use super::lanes::{load, store};
use crate::rows::Square;

/// Rows that are turned together: the bytes of half a register.
const HALF: usize = 16;

/// See [`crate::simd::turn()`].
pub(in crate::simd) fn turn(square: &Square) -> Square {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { turn_square(square) }
}

#[target_feature(enable = "avx2")]
fn turn_square(square: &Square) -> Square {
    let mut turned = [[0; 32]; 32];
    let (first, second) = (turn_half(square, 0), turn_half(square, HALF));
    for i in 0..HALF {
        store(&mut turned[i], _mm256_permute2x128_si256::<0x20>(first[i], second[i]));
        store(&mut turned[HALF + i], _mm256_permute2x128_si256::<0x31>(first[i], second[i]));
    }
    turned
}

/// Turns 16 rows: half `h` of register `i` has column `16 h + i`.
#[inline]
#[target_feature(enable = "avx2")]
fn turn_half(square: &Square, first: usize) -> [__m256i; HALF] {
    let mut block: [__m256i; HALF] = std::array::from_fn(|i| load(&square[first + i]));
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
