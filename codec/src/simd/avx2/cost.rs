//! Code lengths under several models.

use std::arch::x86_64::*;

use crate::model::ALPHABET;
use crate::simd::cost::{CostTable, MAX_MODELS};

/// Models of a register.
const WIDTH: usize = 8;

/// See [`crate::simd::cheapest`].
pub(in crate::simd) fn cheapest(counts: &[u16; ALPHABET], costs: &CostTable) -> (u8, i32) {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { cheapest_wide(counts, costs) }
}

#[target_feature(enable = "avx2")]
fn cheapest_wide(counts: &[u16; ALPHABET], costs: &CostTable) -> (u8, i32) {
    let mut sums = [_mm256_setzero_si256(); MAX_MODELS / WIDTH];
    for (counts, costs) in counts.as_chunks::<2>().0.iter().zip(costs) {
        if *counts == [0, 0] {
            continue;
        }
        let counts = _mm256_set1_epi32(i32::from(counts[1]) << 16 | i32::from(counts[0]));
        for (sum, costs) in sums.iter_mut().zip(costs.as_chunks::<WIDTH>().0) {
            // SAFETY: the reference is to 32 readable bytes.
            let costs = unsafe { _mm256_loadu_si256(costs.as_ptr().cast()) };
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(counts, costs));
        }
    }
    let mut least = sums[0];
    for sum in sums {
        least = _mm256_min_epi32(least, sum);
    }
    let least = least_word(least);
    let everywhere = _mm256_set1_epi32(least);
    for (first, sum) in (0u8..).step_by(WIDTH).zip(sums) {
        let equal = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(sum, everywhere)));
        if equal != 0 {
            return (first + equal.trailing_zeros() as u8, least);
        }
    }
    (0, least)
}

#[inline]
#[target_feature(enable = "avx2")]
fn least_word(words: __m256i) -> i32 {
    let four = _mm_min_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
    let two = _mm_min_epi32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_min_epi32(two, _mm_shuffle_epi32::<1>(two)))
}
