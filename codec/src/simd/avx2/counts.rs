//! Counts of a channel's values.

use std::arch::x86_64::*;

use super::lanes::load;
use crate::rows::{BLOCK_CHANNELS, Square, TileRows};
use crate::simd::counts::{COUNTED, LeastCounts};

/// Values that are counted in one pass over a channel.
const PASS: usize = 8;

/// See [`crate::simd::count_least`].
pub(in crate::simd) fn count_least(rows: &TileRows, channel: usize, outliers: usize) -> LeastCounts {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { count_wide(rows.block(channel / BLOCK_CHANNELS), channel % BLOCK_CHANNELS, outliers) }
}

#[target_feature(enable = "avx2")]
fn count_wide(squares: &[Square], channel: usize, outliers: usize) -> LeastCounts {
    let mut least = least_from(squares, channel, 0);
    let mut below = count_of(squares, channel, least);
    while below <= outliers && least < u8::MAX {
        least = least_from(squares, channel, least + 1);
        below += count_of(squares, channel, least);
    }
    let mut counts = [0; COUNTED];
    for (first, counts) in (0u8..).step_by(PASS).zip(counts.as_chunks_mut::<PASS>().0) {
        count_pass(squares, channel, least.wrapping_sub(1).wrapping_add(first), counts);
    }
    // What is not a byte was counted as the byte that it is modulo 2^8.
    for (k, count) in counts.iter_mut().enumerate() {
        if !(1..=256).contains(&(usize::from(least) + k)) {
            *count = 0;
        }
    }
    LeastCounts { least, counts }
}

/// The least of the values that are at least `from`, of which there are some; else one of the others.
#[inline]
#[target_feature(enable = "avx2")]
fn least_from(squares: &[Square], channel: usize, from: u8) -> u8 {
    let offset = _mm256_set1_epi8(from.cast_signed());
    let mut least = _mm256_set1_epi8(-1);
    for square in squares {
        least = _mm256_min_epu8(least, _mm256_sub_epi8(load(&square[channel]), offset));
    }
    let half = _mm_min_epu8(_mm256_castsi256_si128(least), _mm256_extracti128_si256::<1>(least));
    let pairs = _mm_min_epu8(half, _mm_srli_epi16::<8>(half));
    // The upper bytes may be anything now.
    let words = _mm_and_si128(pairs, _mm_set1_epi16(0xff));
    (_mm_cvtsi128_si32(_mm_minpos_epu16(words)) as u8).wrapping_add(from)
}

/// How often a value occurs.
#[inline]
#[target_feature(enable = "avx2")]
fn count_of(squares: &[Square], channel: usize, value: u8) -> usize {
    let value = _mm256_set1_epi8(value.cast_signed());
    let mut count = 0;
    for square in squares {
        let equal = _mm256_cmpeq_epi8(load(&square[channel]), value);
        count += _mm256_movemask_epi8(equal).count_ones() as usize;
    }
    count
}

/// How often `first` and the values after it occur, modulo 2^8. A chunk has fewer than 2^8 rows.
#[inline]
#[target_feature(enable = "avx2")]
fn count_pass(squares: &[Square], channel: usize, first: u8, counts: &mut [u16; PASS]) {
    let zero = _mm256_setzero_si256();
    let mut sums = [zero; PASS];
    let first = _mm256_set1_epi8(first.cast_signed());
    for square in squares {
        let offsets = _mm256_sub_epi8(load(&square[channel]), first);
        for (k, sum) in (0i8..).zip(&mut sums) {
            *sum = _mm256_sub_epi8(*sum, _mm256_cmpeq_epi8(offsets, _mm256_set1_epi8(k)));
        }
    }
    for (count, sum) in counts.iter_mut().zip(sums) {
        let quarters = _mm256_sad_epu8(sum, zero);
        let halves = _mm_add_epi64(_mm256_castsi256_si128(quarters), _mm256_extracti128_si256::<1>(quarters));
        *count = (_mm_cvtsi128_si32(halves) + _mm_extract_epi32::<2>(halves)) as u16;
    }
}
