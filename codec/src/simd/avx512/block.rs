//! Rows of a block of 32 channels to lines of elements, token by token.

use std::arch::x86_64::*;

use super::BLOCK_CHANNELS;
use super::transpose::{REGISTERS, turn_row};
use crate::plane::ChannelBlock;
use crate::rows::SymbolRows;
use crate::simd::{Bf16Rows, Dequantizer};
use crate::tile::rans::LANES;

/// Writes the elements of 32 channels, two bytes each, and gives the largest symbol.
pub(in crate::simd) fn dequantize(
    dequantizer: &Dequantizer,
    symbols: &SymbolRows,
    shifts: &[u8; BLOCK_CHANNELS],
    block: &mut ChannelBlock<'_>,
) -> u8 {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { dequantize_block(dequantizer, symbols, shifts, block) }
}

/// Writes the bf16 elements of 32 channels.
pub(in crate::simd) fn join_bf16(rows: &Bf16Rows, block: &mut ChannelBlock<'_>) {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { join_block(rows, block) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn dequantize_block(
    dequantizer: &Dequantizer,
    symbols: &SymbolRows,
    shifts: &[u8; BLOCK_CHANNELS],
    block: &mut ChannelBlock<'_>,
) -> u8 {
    // SAFETY: the reference is to 32 readable bytes.
    let shifts = _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(shifts.as_ptr().cast()) });
    let mask = _mm512_set1_epi8(dequantizer.symbol_mask.cast_signed());
    let (tables, _) = dequantizer.elements.as_chunks::<64>();
    let mut largest = _mm512_setzero_si512();
    for row in 0..symbols.rows_per_channel() {
        let lanes = (symbols.num_tokens() - row * LANES).min(LANES);
        for (i, register) in turn_row(symbols, row).into_iter().enumerate().take(lanes) {
            let shifted = _mm512_and_si512(_mm512_add_epi8(register, shifts), mask);
            let (first, second) = (row * LANES + i, row * LANES + REGISTERS + i);
            put_elements(_mm512_castsi512_si256(shifted), &tables[first], block.line_mut(first));
            let valid = if REGISTERS + i < lanes {
                put_elements(_mm512_extracti64x4_epi64::<1>(shifted), &tables[second], block.line_mut(second));
                !0
            } else {
                u64::from(u32::MAX)
            };
            largest = _mm512_mask_max_epu8(largest, valid, largest, shifted);
        }
    }
    let mut bytes = [0u8; 64];
    store(&mut bytes, largest);
    bytes.into_iter().fold(0, u8::max)
}

/// Looks 32 symbols up.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn put_elements(symbols: __m256i, table: &[u8; 64], line: &mut [u8; 64]) {
    // SAFETY: the reference is to 64 readable bytes.
    let table = unsafe { _mm512_loadu_si512(table.as_ptr().cast()) };
    store(line, _mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(symbols), table));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(line: &mut [u8; 64], register: __m512i) {
    // SAFETY: the reference is to 64 writable bytes.
    unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), register) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn join_block(rows: &Bf16Rows, block: &mut ChannelBlock<'_>) {
    for row in 0..rows.raw.rows_per_channel() {
        let lanes = (rows.raw.num_tokens() - row * LANES).min(LANES);
        let (exponents, raw) = (turn_row(&rows.exponents, row), turn_row(&rows.raw, row));
        for i in 0..REGISTERS.min(lanes) {
            let token = row * LANES + i;
            let line = join_line(_mm512_castsi512_si256(exponents[i]), _mm512_castsi512_si256(raw[i]));
            store(block.line_mut(token), line);
            if REGISTERS + i < lanes {
                let exponents = _mm512_extracti64x4_epi64::<1>(exponents[i]);
                let raw = _mm512_extracti64x4_epi64::<1>(raw[i]);
                store(block.line_mut(token + REGISTERS), join_line(exponents, raw));
            }
        }
    }
}

/// Joins 32 elements: sign, exponent, mantissa.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn join_line(exponents: __m256i, raw: __m256i) -> __m512i {
    /// `a | b & c`
    const OR_AND: i32 = 0xf8;
    let raw = _mm512_cvtepu8_epi16(raw);
    let exponent = _mm512_slli_epi16::<7>(_mm512_cvtepu8_epi16(exponents));
    let sign_bit = _mm512_set1_epi16(i16::MIN);
    let signed = _mm512_ternarylogic_epi64::<OR_AND>(exponent, _mm512_slli_epi16::<8>(raw), sign_bit);
    _mm512_ternarylogic_epi64::<OR_AND>(signed, raw, _mm512_set1_epi16(0x7f))
}
