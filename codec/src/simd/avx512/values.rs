//! Values of a channel to symbols and back: planes of bits are masks.

use std::arch::x86_64::*;

use super::lanes::{load_row, store_row};
use crate::model::ESCAPE;
use crate::rows::{BLOCK_CHANNELS, Square};
use crate::simd::values::{Outside, RUN, Window};

/// See [`crate::simd::to_symbols`].
#[inline]
pub(in crate::simd) fn to_symbols(
    window: Window,
    run: &mut [Square],
    channel: usize,
    planes: &mut Vec<u8>,
    outside: &mut Outside,
) -> bool {
    assert!(channel < BLOCK_CHANNELS);
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { to_symbols_wide(window, run, channel, planes, outside) }
}

/// See [`crate::simd::from_symbols`].
#[inline]
pub(in crate::simd) fn from_symbols(
    window: Window,
    run: &mut [Square],
    channel: usize,
    planes: &[[u8; 4]],
    escapes: &mut [u32; RUN],
) -> bool {
    assert!(window.raw_bits <= 4 && channel < BLOCK_CHANNELS && planes.len() == run.len() * window.raw_bits as usize);
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { from_symbols_wide(window, run, channel, planes, escapes) }
}

#[target_feature(enable = "avx512bw,avx512vl")]
fn to_symbols_wide(
    window: Window,
    run: &mut [Square],
    channel: usize,
    planes: &mut Vec<u8>,
    outside: &mut Outside,
) -> bool {
    let limit = _mm256_set1_epi8(window.len.cast_signed());
    let base = _mm256_set1_epi8(window.base.cast_signed());
    let escape = _mm256_set1_epi8(ESCAPE.cast_signed());
    let shift = _mm_cvtsi32_si128(window.raw_bits.cast_signed());
    let mut any = 0;
    for (square, (mask, values)) in run.iter_mut().zip(outside.masks.iter_mut().zip(&mut outside.values)) {
        *values = square[channel];
        let offsets = _mm256_sub_epi8(load_row(values), base);
        let beyond = _mm256_cmpge_epu8_mask(offsets, limit);
        for bit in 0..window.raw_bits {
            let plane = _mm256_mask_test_epi8_mask(!beyond, offsets, _mm256_set1_epi8(1 << bit));
            planes.extend_from_slice(&plane.to_le_bytes());
        }
        // Bits of the neighbouring byte come in from above, where no symbol has any.
        let shifted = _mm256_and_si256(_mm256_srl_epi16(offsets, shift), escape);
        store_row(&mut square[channel], _mm256_mask_mov_epi8(shifted, beyond, escape));
        *mask = beyond;
        any |= beyond;
    }
    any != 0
}

#[target_feature(enable = "avx512bw,avx512vl")]
fn from_symbols_wide(
    window: Window,
    run: &mut [Square],
    channel: usize,
    planes: &[[u8; 4]],
    escapes: &mut [u32; RUN],
) -> bool {
    match window.raw_bits {
        0 => from_symbols_of::<0>(window.base, run, channel, planes, escapes),
        1 => from_symbols_of::<1>(window.base, run, channel, planes, escapes),
        2 => from_symbols_of::<2>(window.base, run, channel, planes, escapes),
        3 => from_symbols_of::<3>(window.base, run, channel, planes, escapes),
        _ => from_symbols_of::<4>(window.base, run, channel, planes, escapes),
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn from_symbols_of<const RAW_BITS: usize>(
    base: u8,
    run: &mut [Square],
    channel: usize,
    mut planes: &[[u8; 4]],
    escapes: &mut [u32; RUN],
) -> bool {
    let escape = _mm256_set1_epi8(ESCAPE.cast_signed());
    let base = _mm256_set1_epi8(base.cast_signed());
    let bias = if RAW_BITS == 0 { base } else { _mm256_setzero_si256() };
    let mut any = 0;
    for (square, escapes) in run.iter_mut().zip(escapes) {
        let symbols = _mm256_sub_epi8(load_row(&square[channel]), bias);
        // No symbol has bits that would come into the next byte.
        let shifted = _mm256_sll_epi16(symbols, _mm_cvtsi32_si128(RAW_BITS as i32));
        let mut values = _mm256_add_epi8(shifted, base);
        if let Some((row, rest)) = planes.split_first_chunk::<RAW_BITS>() {
            for (bit, plane) in row.iter().enumerate() {
                values = _mm256_mask_add_epi8(values, u32::from_le_bytes(*plane), values, _mm256_set1_epi8(1 << bit));
            }
            planes = rest;
        }
        store_row(&mut square[channel], values);
        *escapes = _mm256_cmpeq_epi8_mask(symbols, escape);
        any |= *escapes;
    }
    any != 0
}

/// See [`crate::simd::take_fractions`].
pub(in crate::simd) fn take_fractions(bit: u32, squares: &[Square], channel: usize, planes: &mut Vec<u8>) {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { take_fractions_wide(bit, squares, channel, planes) }
}

#[target_feature(enable = "avx512bw,avx512vl")]
fn take_fractions_wide(bit: u32, squares: &[Square], channel: usize, planes: &mut Vec<u8>) {
    let one = _mm256_set1_epi8((0x80u8 >> bit).cast_signed());
    planes
        .extend(squares.iter().flat_map(|square| _mm256_test_epi8_mask(load_row(&square[channel]), one).to_le_bytes()));
}

/// See [`crate::simd::put_fractions`].
pub(in crate::simd) fn put_fractions(planes: &[&[u8]], middle: u8, rows: &mut [Square], channel: usize) {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { put_fractions_wide(planes, middle, rows, channel) }
}

#[target_feature(enable = "avx512bw,avx512vl")]
fn put_fractions_wide(planes: &[&[u8]], middle: u8, rows: &mut [Square], channel: usize) {
    for (row, square) in rows.iter_mut().enumerate() {
        let mut fractions = _mm256_set1_epi8(middle.cast_signed());
        let mut one = 0x80u8;
        for plane in planes {
            let bits = u32::from_le_bytes(plane.as_chunks().0[row]);
            fractions = _mm256_mask_add_epi8(fractions, bits, fractions, _mm256_set1_epi8(one.cast_signed()));
            one >>= 1;
        }
        store_row(&mut square[channel], fractions);
    }
}
