//! Bytes of 32 tokens against the states of their coders: four registers of eight states, one for each byte of a word.

use std::arch::x86_64::*;

use crate::model::ALPHABET;

/// States of 32 coders: register `g` has coders `8 g` to `8 g + 7`, whose tokens are `4 k + g`.
pub(super) type States = [__m256i; 4];

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_states(states: &[u32; 32]) -> States {
    // SAFETY: the references are to 32 readable bytes.
    std::array::from_fn(|g| unsafe { _mm256_loadu_si256(states[8 * g..8 * g + 8].as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_states(states: &mut [u32; 32], registers: States) {
    for (to, register) in states.chunks_exact_mut(8).zip(registers) {
        // SAFETY: the reference is to 32 writable bytes.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), register) };
    }
}

/// A table of 16 bytes, in both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_table(table: &[u8; ALPHABET]) -> __m256i {
    // SAFETY: the reference is to 16 readable bytes.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(bytes: &mut [u8; 32], register: __m256i) {
    // SAFETY: the reference is to 32 writable bytes.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), register) };
}

/// Byte `g` of each word, alone.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn byte_of_words(bytes: __m256i, g: usize) -> __m256i {
    const PICKS: [[u8; 32]; 4] = {
        let mut picks = [[0x80; 32]; 4];
        let mut g = 0;
        while g < 4 {
            let mut word = 0;
            while word < 8 {
                picks[g][4 * word] = ((4 * word + g) % 16) as u8;
                word += 1;
            }
            g += 1;
        }
        picks
    };
    static TABLE: [[u8; 32]; 4] = PICKS;
    _mm256_shuffle_epi8(bytes, load(&TABLE[g]))
}
