//! Vectors of AVX2 and AVX-512, and the bf16 dot product.
//!
//! These types do arithmetic only under [`super::dispatch`], in functions compiled for their features and called after
//! the processor has said that it has them. Each intrinsic below is sound for that reason, each load because a
//! [`Line`] is 64 bytes at an address that is a multiple of 64, and each transmute because both sides are plain bytes
//! of one size.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::lanes::{Lanes, Vector};
use super::line::{LANES, Line};
use super::operand::Form;
use crate::Precision;

/// The sign, exponent and upper mantissa bits of a word: its high bf16 as f32.
const HIGH: i32 = 0xffff_0000_u32.cast_signed();

impl Vector for __m512 {
    const WIDE: bool = true;
    const FMA: bool = true;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see the module.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        // SAFETY: see the module.
        unsafe { _mm512_load_ps(line.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_low(line: &Line) -> Self {
        // SAFETY: see the module.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(Self::load(line)))) }
    }

    #[inline(always)]
    fn load_high(line: &Line) -> Self {
        // SAFETY: see the module.
        unsafe {
            let words = _mm512_castps_si512(Self::load(line));
            _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(HIGH)))
        }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see the module.
        unsafe { _mm512_fmadd_ps(self, b, c) }
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        // SAFETY: see the module.
        unsafe { transmute(self) }
    }
}

impl Vector for [__m256; 2] {
    const WIDE: bool = false;
    const FMA: bool = true;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: see the module.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(line: &Line) -> Self {
        let start: *const f32 = line.0.as_ptr().cast();
        // SAFETY: see the module.
        unsafe { [_mm256_load_ps(start), _mm256_load_ps(start.add(LANES / 2))] }
    }

    #[inline(always)]
    fn load_low(line: &Line) -> Self {
        let [a, b] = Self::load(line);
        // SAFETY: see the module.
        unsafe { [shifted(a), shifted(b)] }
    }

    #[inline(always)]
    fn load_high(line: &Line) -> Self {
        let [a, b] = Self::load(line);
        // SAFETY: see the module.
        unsafe {
            let high = _mm256_castsi256_ps(_mm256_set1_epi32(HIGH));
            [_mm256_and_ps(a, high), _mm256_and_ps(b, high)]
        }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: see the module.
        unsafe { [_mm256_fmadd_ps(self[0], b[0], c[0]), _mm256_fmadd_ps(self[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        // SAFETY: see the module.
        unsafe { transmute(self) }
    }
}

/// Words moved up by half a word.
///
/// # Safety
/// AVX2 must be there.
#[inline(always)]
unsafe fn shifted(words: __m256) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(words))) }
}

/// Two bf16 per word, multiplied and added by `vdpbf16ps`, which flushes subnormals.
pub(super) struct Dp;

impl Lanes for Dp {
    const WIDE: bool = true;
    const FMA: bool = true;
    const FORM: Form = Form::Packed(Precision::Bf16);
    const OPERATIONS: u64 = 4 * LANES as u64;
    type Acc = __m512;
    type Left = u32;

    #[inline(always)]
    fn left(row: &[u32]) -> &[u32] {
        row
    }

    #[inline(always)]
    fn madd<const M: usize, const P: usize>(
        acc: &mut [[__m512; P]; M],
        x: &[&[u32]; M],
        panels: &[&[Line]; P],
        line: usize,
    ) {
        for (p, panel) in panels.iter().enumerate() {
            let right: __m512 = Vector::load(&panel[line]);
            for (acc, x) in acc.iter_mut().zip(x) {
                // SAFETY: see the module.
                acc[p] = unsafe {
                    let x: __m512bh = transmute(_mm512_set1_epi32(x[line].cast_signed()));
                    _mm512_dpbf16_ps(acc[p], x, transmute::<__m512, __m512bh>(right))
                };
            }
        }
    }
}
