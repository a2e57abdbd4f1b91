//! The states of 32 coders as halves of words: each register has the upper or the lower halves of 16 of them.
//!
//! The bytes of two registers of small numbers, one of each half of the coders, interleave to one register; see
//! [`to_tokens`] for the order.

use std::arch::x86_64::*;

use super::bf16::swap_middle;

/// Halves of the states of coders 0 to 15, and of coders 16 to 31: a lane of 128 bits has eight, whose refills are words
/// that follow each other.
#[derive(Clone, Copy)]
pub(super) struct Halves {
    pub(super) upper: [__m256i; 2],
    pub(super) lower: [__m256i; 2],
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_halves(states: &[u32; 32]) -> Halves {
    let zero = _mm256_setzero_si256();
    let mut halves = Halves { upper: [zero; 2], lower: [zero; 2] };
    for (i, states) in states.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: the reference is to 64 readable bytes.
        let [first, second] = unsafe {
            let states: *const __m256i = states.as_ptr().cast();
            [_mm256_loadu_si256(states), _mm256_loadu_si256(states.add(1))]
        };
        let low = _mm256_set1_epi32(0xffff);
        let lower = _mm256_packus_epi32(_mm256_and_si256(first, low), _mm256_and_si256(second, low));
        let upper = _mm256_packus_epi32(_mm256_srli_epi32::<16>(first), _mm256_srli_epi32::<16>(second));
        (halves.upper[i], halves.lower[i]) = (swap_middle(upper), swap_middle(lower));
    }
    halves
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_halves(states: &mut [u32; 32], halves: Halves) {
    for (i, states) in states.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (upper, lower) = (swap_middle(halves.upper[i]), swap_middle(halves.lower[i]));
        // SAFETY: the reference is to 64 writable bytes.
        unsafe {
            let states: *mut __m256i = states.as_mut_ptr().cast();
            _mm256_storeu_si256(states, _mm256_unpacklo_epi16(lower, upper));
            _mm256_storeu_si256(states.add(1), _mm256_unpackhi_epi16(lower, upper));
        }
    }
}

/// Bytes of coders in the order of their tokens: in a lane of 128 bits, the even bytes are those of one register of
/// [`Halves`], the odd ones those of the other, so that one lane has the even tokens and the other one the odd.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn to_tokens(bytes: __m256i) -> __m256i {
    let (even, odd) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
    _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd))
}
