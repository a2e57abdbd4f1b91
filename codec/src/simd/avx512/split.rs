//! bf16 elements to exponents and raw bits: 8 channels of 32 tokens are turned, then a channel's row is split at once.

use std::arch::x86_64::*;

use super::state::store_row;
use super::transpose::{CHANNELS, turn_elements};
use crate::plane::HeadView;
use crate::rows::SymbolRows;
use crate::tile::rans::LANES;

/// Writes exponents and raw bits; the head has a multiple of 8 channels.
pub(in crate::simd) fn split_bf16(head: &HeadView<'_>, exponents: &mut SymbolRows, raw: &mut SymbolRows) {
    // SAFETY: the caller holds an `Isa` of AVX-512.
    unsafe { split_head(head, exponents, raw) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
fn split_head(head: &HeadView<'_>, exponents: &mut SymbolRows, raw: &mut SymbolRows) {
    let rows = exponents.rows_per_channel();
    for row in 0..rows {
        let last = head.num_tokens - 1;
        let tokens: [usize; LANES] = std::array::from_fn(|lane| (row * LANES + lane).min(last));
        for first in (0..head.head_dim).step_by(CHANNELS) {
            for (i, elements) in turn_elements(head, &tokens, first).into_iter().enumerate() {
                let at = (first + i) * rows + row;
                let mantissa = _mm512_and_si512(elements, _mm512_set1_epi16(0x7f));
                let sign = _mm512_and_si512(_mm512_srli_epi16::<8>(elements), _mm512_set1_epi16(0x80));
                // Only the low byte of each word is stored.
                store_row(&mut exponents.rows_mut()[at], _mm512_srli_epi16::<7>(elements));
                store_row(&mut raw.rows_mut()[at], _mm512_or_si512(sign, mantissa));
            }
        }
    }
}
