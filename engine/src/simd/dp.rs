//! The bf16 dot-product instruction of AVX-512.

use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps};

use super::lanes::{Lanes, mul_add};
use super::line::{LANES, Line};

/// Two bf16 per word, multiplied and added by `vdpbf16ps`, which flushes subnormals.
///
/// Only [`super::dispatch`] names this type, in the function compiled for `avx512f` and `avx512bf16`.
pub(super) struct Dp;

impl Lanes for Dp {
    const WIDE: bool = true;
    type Acc = __m512;

    #[inline(always)]
    fn zero() -> Self::Acc {
        // SAFETY: avx512f is there, see `Dp`.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn madd(acc: &mut Self::Acc, x: u32, line: &Line) {
        // SAFETY: avx512f and avx512bf16 are there, see `Dp`; both operands of the transmutes are 64 plain bytes.
        *acc = unsafe {
            let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(x.cast_signed()));
            _mm512_dpbf16_ps(*acc, x, std::mem::transmute::<[u32; LANES], __m512bh>(line.0))
        };
    }

    #[inline(always)]
    fn sums(acc: Self::Acc) -> [f32; LANES] {
        // SAFETY: both are 64 bytes of f32.
        unsafe { std::mem::transmute(acc) }
    }

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        mul_add::<true>(a, b, c)
    }
}
