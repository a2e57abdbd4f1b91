//! Squares of bytes, turned.
//!
//! Lines of a plane are words, and two of them lie in one register of bytes: [`from_rows`] and [`to_rows`] have the bytes of
//! token `i` in the even places of register `i`, and those of token `16 + i` in the odd ones, in the order of channels.

use std::arch::x86_64::*;

use super::lanes::{load_row, store_row};
use crate::rows::{BLOCK_CHANNELS, Row, Square};

/// Registers of a square.
pub(super) const HALF: usize = 16;

/// See [`crate::simd::turn()`].
pub(in crate::simd) fn turn(square: &Square, turned: &mut Square) {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { turn_square(square, turned) }
}

#[target_feature(enable = "avx512bw")]
fn turn_square(square: &Square, turned: &mut Square) {
    let mut block = [_mm512_setzero_si512(); HALF];
    for (i, register) in block.iter_mut().enumerate() {
        *register = two_rows(&square[i], &square[HALF + i]);
    }
    for (i, register) in turn_quarters(block).into_iter().enumerate() {
        let lines = swap_middle(register);
        store_row(&mut turned[i], _mm512_castsi512_si256(lines));
        store_row(&mut turned[HALF + i], _mm512_extracti64x4_epi64::<1>(lines));
    }
}

/// Exchanges the middle quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn swap_middle(register: __m512i) -> __m512i {
    _mm512_shuffle_i64x2::<0b11_01_10_00>(register, register)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn two_rows(first: &Row, second: &Row) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load_row(first)), load_row(second))
}

/// Turns a square of 16 bytes in each quarter of the registers.
#[inline]
#[target_feature(enable = "avx512bw")]
fn turn_quarters(mut block: [__m512i; HALF]) -> [__m512i; HALF] {
    // Each step rotates the eight bits (register, byte of a quarter) by one; after four they have changed places.
    for _ in 0..4 {
        let mut next = block;
        for i in 0..HALF / 2 {
            next[2 * i] = _mm512_unpacklo_epi8(block[i], block[i + HALF / 2]);
            next[2 * i + 1] = _mm512_unpackhi_epi8(block[i], block[i + HALF / 2]);
        }
        block = next;
    }
    block
}

/// The bytes of tokens, from the row of each channel.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn from_rows<'a>(row: impl Fn(usize) -> &'a Row) -> [__m512i; HALF] {
    let mut block = [_mm512_setzero_si512(); HALF];
    for (i, [first_tokens, last_tokens]) in block.as_chunks_mut().0.iter_mut().enumerate() {
        let low = two_rows(row(i), row(8 + i));
        let high = two_rows(row(16 + i), row(24 + i));
        *first_tokens = _mm512_shuffle_i64x2::<0b10_00_10_00>(low, high);
        *last_tokens = _mm512_shuffle_i64x2::<0b11_01_11_01>(low, high);
    }
    turn_quarters(block)
}

/// Writes the bytes of tokens to the row of each channel: that of channel `i` begins at `at + i * stride`.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn to_rows(tokens: [__m512i; HALF], rows: &mut [u8], stride: usize, at: usize) {
    let rows = &mut rows[at..];
    let mut put = |channel: usize, row| {
        store_row(rows[channel * stride..].first_chunk_mut().expect("a row has 32 tokens"), row);
    };
    for (i, [first_tokens, last_tokens]) in turn_quarters(tokens).as_chunks().0.iter().enumerate() {
        let low = _mm512_permutex2var_epi64(*first_tokens, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), *last_tokens);
        let high =
            _mm512_permutex2var_epi64(*first_tokens, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), *last_tokens);
        for (channel, two) in [(i, low), (BLOCK_CHANNELS / 2 + i, high)] {
            put(channel, _mm512_castsi512_si256(two));
            put(channel + 8, _mm512_extracti64x4_epi64::<1>(two));
        }
    }
}
