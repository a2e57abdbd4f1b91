//! The states of 32 coders as halves of words, in the order of coders: one register has the upper halves, another the lower.

use std::arch::x86_64::*;

/// Halves of the states of 32 coders.
#[derive(Clone, Copy)]
pub(super) struct Halves {
    pub(super) upper: __m512i,
    pub(super) lower: __m512i,
}

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn load_halves(states: &[u32; 32]) -> Halves {
    // SAFETY: the reference is to 128 readable bytes.
    let [first, second] = unsafe {
        let states: *const __m512i = states.as_ptr().cast();
        [_mm512_loadu_si512(states), _mm512_loadu_si512(states.add(1))]
    };
    Halves {
        upper: _mm512_permutex2var_epi16(first, load_picks(&UPPER), second),
        lower: _mm512_permutex2var_epi16(first, load_picks(&LOWER), second),
    }
}

#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn store_halves(states: &mut [u32; 32], Halves { upper, lower }: Halves) {
    // SAFETY: the reference is to 128 writable bytes.
    unsafe {
        let states: *mut __m512i = states.as_mut_ptr().cast();
        _mm512_storeu_si512(states, _mm512_permutex2var_epi16(lower, load_picks(&FIRST), upper));
        _mm512_storeu_si512(states.add(1), _mm512_permutex2var_epi16(lower, load_picks(&SECOND), upper));
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_picks(picks: &[u16; 32]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { _mm512_loadu_si512(picks.as_ptr().cast()) }
}

/// Words of two registers, those of the second one from 32 on: every second of them.
static LOWER: [u16; 32] = every_second(0);
static UPPER: [u16; 32] = every_second(1);

const fn every_second(first: u16) -> [u16; 32] {
    let mut picks = [0; 32];
    let mut i = 0;
    while i < 32 {
        picks[i] = 2 * i as u16 + first;
        i += 1;
    }
    picks
}

/// Words of both registers in turn, from `first` on.
static FIRST: [u16; 32] = in_turn(0);
static SECOND: [u16; 32] = in_turn(16);

const fn in_turn(first: u16) -> [u16; 32] {
    let mut picks = [0; 32];
    let mut i = 0;
    while i < 32 {
        picks[i] = first + i as u16 / 2 + i as u16 % 2 * 32;
        i += 1;
    }
    picks
}
