//! Code lengths under several models.

use std::arch::x86_64::*;

use crate::model::ALPHABET;
use crate::simd::cost::{CostTable, MAX_MODELS};

/// Models of a register.
const WIDTH: usize = 8;

/// See [`crate::simd::weigh`].
pub(in crate::simd) fn weigh(counts: &[u16; ALPHABET], costs: &CostTable) -> [i32; MAX_MODELS] {
    // SAFETY: the caller holds an `Isa` of AVX2.
    unsafe { weigh_wide(counts, costs) }
}

#[target_feature(enable = "avx2")]
fn weigh_wide(counts: &[u16; ALPHABET], costs: &CostTable) -> [i32; MAX_MODELS] {
    let mut sums = [_mm256_setzero_si256(); MAX_MODELS / WIDTH];
    for (counts, costs) in counts.as_chunks::<2>().0.iter().zip(costs) {
        let counts = _mm256_set1_epi32(i32::from(counts[1]) << 16 | i32::from(counts[0]));
        for (sum, costs) in sums.iter_mut().zip(costs.as_chunks::<WIDTH>().0) {
            // SAFETY: the reference is to 32 readable bytes.
            let costs = unsafe { _mm256_loadu_si256(costs.as_ptr().cast()) };
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(counts, costs));
        }
    }
    let mut out = [0; MAX_MODELS];
    for (out, sum) in out.chunks_exact_mut(WIDTH).zip(sums) {
        // SAFETY: the reference is to 32 writable bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
    }
    out
}
