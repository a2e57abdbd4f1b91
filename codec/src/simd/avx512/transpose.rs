//! Blocks of symbols and of elements, turned.

use std::arch::x86_64::*;

use super::BLOCK_CHANNELS;
use crate::plane::HeadView;
use crate::rows::SymbolRows;
use crate::tile::rans::LANES;

/// Channels that are turned together: those of 16 bytes.
pub(super) const CHANNELS: usize = 8;

/// Registers of a turned block.
pub(super) const REGISTERS: usize = BLOCK_CHANNELS / 2;

/// Turns one row of 32 channels: register `i` has the 32 channels of token `i` of the row, then those of token `16 + i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(super) fn turn_row(symbols: &SymbolRows, row: usize) -> [__m512i; REGISTERS] {
    let rows = symbols.rows_per_channel();
    let load = |channel: usize| {
        let bytes: &[u8; LANES] = &symbols.rows()[channel * rows + row];
        // SAFETY: the reference is to 32 readable bytes.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    };
    let mut block = [_mm512_setzero_si512(); REGISTERS];
    for (channel, register) in block.iter_mut().enumerate() {
        *register = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load(channel)), load(REGISTERS + channel));
    }
    // Each step rotates the eight bits (register, byte of a 128-bit lane) by one; after four they have changed places.
    for _ in 0..4 {
        let mut next = block;
        for i in 0..REGISTERS / 2 {
            next[2 * i] = _mm512_unpacklo_epi8(block[i], block[i + REGISTERS / 2]);
            next[2 * i + 1] = _mm512_unpackhi_epi8(block[i], block[i + REGISTERS / 2]);
        }
        block = next;
    }
    // Lanes 0 and 2 are of token i, 1 and 3 of token 16 + i.
    for register in &mut block {
        *register = swap_middle_lanes(*register);
    }
    block
}

/// Lanes 0, 2, 1, 3.
#[inline]
#[target_feature(enable = "avx512f")]
fn swap_middle_lanes(register: __m512i) -> __m512i {
    _mm512_shuffle_i64x2::<0b11_01_10_00>(register, register)
}

/// Elements of 8 channels: register `i` has channel `first + i`, lane `l` of the first half of the row in word `2 * l`,
/// of the second in word `2 * l + 1`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub(super) fn turn_elements(head: &HeadView<'_>, tokens: &[usize; LANES], first: usize) -> [__m512i; CHANNELS] {
    let load = |lane: usize| {
        let bytes: &[u8; 16] = head.token(tokens[lane])[2 * first..].first_chunk().expect("8 channels are left");
        // SAFETY: the reference is to 16 readable bytes.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    };
    let mut block = [_mm512_setzero_si512(); CHANNELS];
    for (i, register) in block.iter_mut().enumerate() {
        let lane = i / 2 + 16 * (i % 2);
        let first = _mm512_castsi128_si512(load(lane));
        let second = _mm512_inserti32x4::<1>(first, load(lane + 4));
        let third = _mm512_inserti32x4::<2>(second, load(lane + 8));
        *register = _mm512_inserti32x4::<3>(third, load(lane + 12));
    }
    // Each step rotates the six bits (register, word of a 128-bit lane) by one; after three they have changed places.
    for _ in 0..3 {
        let mut next = block;
        for i in 0..CHANNELS / 2 {
            next[2 * i] = _mm512_unpacklo_epi16(block[i], block[i + CHANNELS / 2]);
            next[2 * i + 1] = _mm512_unpackhi_epi16(block[i], block[i + CHANNELS / 2]);
        }
        block = next;
    }
    block
}
