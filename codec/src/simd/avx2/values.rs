//! Values of a channel to symbols and back.

use std::arch::x86_64::*;

use super::lanes::{load, store};
use crate::model::ESCAPE;
use crate::rows::{BLOCK_CHANNELS, Square, TileRows};
use crate::simd::values::{Moments, Outside, RUN, Window};

/// See [`crate::simd::moments`].
#[inline]
pub(in crate::simd) fn moments(rows: &TileRows, channel: usize) -> Moments {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { moments_wide(rows, channel) }
}

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
    // SAFETY: the caller holds an `Isa` of AVX2.
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
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { from_symbols_wide(window, run, channel, planes, escapes) }
}

#[target_feature(enable = "avx2")]
fn moments_wide(rows: &TileRows, channel: usize) -> Moments {
    let (mut sums, mut squares) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let ones = _mm256_set1_epi16(1);
    for square in rows.block(channel / BLOCK_CHANNELS) {
        let values = load(&square[channel % BLOCK_CHANNELS]);
        let magnitudes = _mm256_abs_epi8(values);
        let pair_sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), values);
        let pair_squares = _mm256_maddubs_epi16(magnitudes, magnitudes);
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pair_sums, ones));
        squares = _mm256_add_epi32(squares, _mm256_madd_epi16(pair_squares, ones));
    }
    Moments { sum: sum_words(sums), squares: sum_words(squares).cast_unsigned() }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_words(words: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}

#[target_feature(enable = "avx2")]
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
    let mut any = _mm256_setzero_si256();
    for (square, (mask, values)) in run.iter_mut().zip(outside.masks.iter_mut().zip(&mut outside.values)) {
        *values = square[channel];
        let offsets = _mm256_sub_epi8(load(values), base);
        let beyond = _mm256_cmpeq_epi8(_mm256_max_epu8(offsets, limit), offsets);
        if window.raw_bits > 0 {
            let inside = _mm256_andnot_si256(beyond, offsets);
            for bit in 0..window.raw_bits {
                let at_sign = _mm256_sll_epi16(inside, _mm_cvtsi32_si128(7 - bit.cast_signed()));
                planes.extend_from_slice(&_mm256_movemask_epi8(at_sign).to_le_bytes());
            }
        }
        // Bits of the neighbouring byte come in from above, where no symbol has any.
        let shifted = _mm256_and_si256(_mm256_srl_epi16(offsets, shift), escape);
        store(&mut square[channel], _mm256_blendv_epi8(shifted, escape, beyond));
        *mask = _mm256_movemask_epi8(beyond).cast_unsigned();
        any = _mm256_or_si256(any, beyond);
    }
    _mm256_testz_si256(any, any) == 0
}

#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
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
    let mut any = _mm256_setzero_si256();
    for (square, escapes) in run.iter_mut().zip(escapes) {
        let symbols = _mm256_sub_epi8(load(&square[channel]), bias);
        let mut offsets = symbols;
        for _ in 0..RAW_BITS {
            offsets = _mm256_add_epi8(offsets, offsets);
        }
        if let Some((row, rest)) = planes.split_first_chunk::<RAW_BITS>() {
            for (bit, plane) in row.iter().enumerate() {
                offsets = _mm256_or_si256(offsets, _mm256_and_si256(spread(*plane), _mm256_set1_epi8(1 << bit)));
            }
            planes = rest;
        }
        store(&mut square[channel], _mm256_add_epi8(offsets, base));
        let escaped = _mm256_cmpeq_epi8(symbols, escape);
        *escapes = _mm256_movemask_epi8(escaped).cast_unsigned();
        any = _mm256_or_si256(any, escaped);
    }
    _mm256_testz_si256(any, any) == 0
}

/// All bits of byte `t` set where bit `t` of the plane is.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn spread(plane: [u8; 4]) -> __m256i {
    let bytes = _mm256_set1_epi32(i32::from_le_bytes(plane));
    let copies = _mm256_shuffle_epi8(
        bytes,
        _mm256_setr_epi8(
            0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3,
        ),
    );
    let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201u64.cast_signed());
    _mm256_cmpeq_epi8(_mm256_and_si256(copies, bits), bits)
}

/// See [`crate::simd::take_fractions`].
pub(in crate::simd) fn take_fractions(bit: u32, squares: &[Square], channel: usize, planes: &mut Vec<u8>) {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { take_fractions_wide(bit, squares, channel, planes) }
}

#[target_feature(enable = "avx2")]
fn take_fractions_wide(bit: u32, squares: &[Square], channel: usize, planes: &mut Vec<u8>) {
    let shift = _mm_cvtsi32_si128(bit.cast_signed());
    planes.extend(
        squares
            .iter()
            .flat_map(|square| _mm256_movemask_epi8(_mm256_sll_epi16(load(&square[channel]), shift)).to_le_bytes()),
    );
}

/// See [`crate::simd::put_fractions`].
pub(in crate::simd) fn put_fractions(planes: &[&[u8]], middle: u8, rows: &mut [Square], channel: usize) {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { put_fractions_wide(planes, middle, rows, channel) }
}

#[target_feature(enable = "avx2")]
fn put_fractions_wide(planes: &[&[u8]], middle: u8, rows: &mut [Square], channel: usize) {
    for (row, square) in rows.iter_mut().enumerate() {
        let mut fractions = _mm256_set1_epi8(middle.cast_signed());
        let mut one = i8::MIN;
        for plane in planes {
            let bits = spread(plane.as_chunks().0[row]);
            fractions = _mm256_or_si256(fractions, _mm256_and_si256(bits, _mm256_set1_epi8(one)));
            one = (one.cast_unsigned() >> 1).cast_signed();
        }
        store(&mut square[channel], fractions);
    }
}
