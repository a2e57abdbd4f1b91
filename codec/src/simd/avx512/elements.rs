//! Elements of 16 bits by the value that they have.

use std::arch::x86_64::*;

use super::lanes::load;
use crate::simd::dequantize::TokenTable;
use crate::tile::rans::LANES;

/// The elements of the values of a token: that of value `v` is word `v mod 32`.
pub(super) type ValueTable = __m512i;

/// The tables of a row of tokens.
#[inline]
#[target_feature(enable = "avx512vbmi")]
pub(super) fn value_tables(tables: &[TokenTable; LANES]) -> [ValueTable; LANES] {
    let mut registers = [_mm512_setzero_si512(); LANES];
    for (register, table) in registers.iter_mut().zip(tables) {
        let planes = load(table.as_flattened().first_chunk().expect("64 bytes"));
        let magnitudes = _mm512_permutexvar_epi8(load(&BYTES_OF_WORDS), planes);
        // Negative values are in the upper half.
        *register = _mm512_mask_add_epi16(magnitudes, 0xffff_0000, magnitudes, _mm512_set1_epi16(i16::MIN));
    }
    registers
}

/// The elements of values, which are the low bytes of words.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn look_up(table: &ValueTable, values: __m512i) -> __m512i {
    _mm512_permutexvar_epi16(values, *table)
}

/// Two planes of 16 bytes to words, by magnitude: 0 to 15, 16 where there are none, and down from 15.
static BYTES_OF_WORDS: [u8; 64] = {
    let mut picks = [0; 64];
    let mut value = 0;
    while value < LANES {
        let magnitude = if value < 16 { value } else { (LANES - value) % 16 };
        (picks[2 * value], picks[2 * value + 1]) = (magnitude as u8, 16 + magnitude as u8);
        value += 1;
    }
    picks
};
