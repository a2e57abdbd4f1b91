//! States and symbols of 32 lanes, and tables of 32 words, in registers.

use std::arch::x86_64::*;

use crate::rows::Row;
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

/// Stores symbols lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn store_row(row: &mut Row, symbols: __m512i) {
    /// Where each lane's symbol lies, in bytes.
    const LANE_ORDER: [u8; 64] = {
        let mut order = [0; 64];
        let mut lane = 0;
        while lane < LANES {
            order[lane] = 4 * (lane as u8 % 16) + 2 * (lane as u8 / 16);
            lane += 1;
        }
        order
    };
    // SAFETY: the reference is to 64 readable bytes.
    let order = unsafe { _mm512_loadu_si512(LANE_ORDER.as_ptr().cast()) };
    let bytes = _mm512_castsi512_si256(_mm512_permutexvar_epi8(order, symbols));
    // SAFETY: the reference is to 32 writable bytes.
    unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), bytes) };
}
