//! States of 32 lanes, and tables of 32 words, in registers.

use std::arch::x86_64::*;

use crate::tile::rans::LANES;

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_table(table: &[u16; 32]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_states(states: &[u32; LANES]) -> [__m512i; 2] {
    // SAFETY: the reference is to 128 readable bytes.
    unsafe { [_mm512_loadu_si512(states.as_ptr().cast()), _mm512_loadu_si512(states[16..].as_ptr().cast())] }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_states(states: &mut [u32; LANES], [a, b]: [__m512i; 2]) {
    // SAFETY: the reference is to 128 writable bytes.
    unsafe {
        _mm512_storeu_si512(states.as_mut_ptr().cast(), a);
        _mm512_storeu_si512(states[16..].as_mut_ptr().cast(), b);
    }
}
