//! Bytes in and out of registers.

use std::arch::asm;
use std::arch::x86_64::*;

use crate::model::ALPHABET;

/// A mask that the compiler knows nothing of: otherwise it moves constant ones to their registers again and again, or makes two
/// instructions of one.
#[inline]
#[target_feature(enable = "avx512bw")]
pub(super) fn kept(mut mask: __mmask64) -> __mmask64 {
    // SAFETY: there are no instructions.
    unsafe { asm!("/* {0} */", inout(kreg) mask, options(pure, nomem, nostack, preserves_flags)) };
    mask
}

/// 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_row(row: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes.
    unsafe { _mm256_loadu_si256(row.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_row(row: &mut [u8; 32], register: __m256i) {
    // SAFETY: the reference is to 32 writable bytes.
    unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), register) };
}

/// A table of 16 bytes, in all quarters.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_table(table: &[u8; ALPHABET]) -> __m512i {
    // SAFETY: the reference is to 16 readable bytes.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(bytes: &mut [u8; 64], register: __m512i) {
    // SAFETY: the reference is to 64 writable bytes.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), register) };
}
