//! bf16 elements to exponents and raw bits.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;
use crate::plane::HeadView;
use crate::rows::SymbolRows;
use crate::tile::rans::LANES;

/// Splits the bf16 elements of a head into exponents and raw bits, `[d][token]` both.
pub(crate) fn split_bf16(isa: Isa, head: &HeadView<'_>) -> [SymbolRows; 2] {
    let mut parts = [0, 1].map(|_| SymbolRows::zeroed(head.head_dim, head.num_tokens));
    let [exponents, raw] = &mut parts;
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if head.head_dim.is_multiple_of(8) => super::avx512::split_bf16(head, exponents, raw),
        _ => split_scalar(head, exponents, raw),
    }
    parts
}

fn split_scalar(head: &HeadView<'_>, exponents: &mut SymbolRows, raw: &mut SymbolRows) {
    let stride = exponents.rows_per_channel() * LANES;
    let (exponents, raw) = (exponents.rows_mut().as_flattened_mut(), raw.rows_mut().as_flattened_mut());
    for token in 0..head.num_tokens {
        for (d, element) in head.token(token).chunks_exact(half::bf16::BYTES).enumerate() {
            let (exponent, bits) = half::bf16::split(half::bf16::load(element));
            exponents[d * stride + token] = exponent;
            raw[d * stride + token] = bits as u8;
        }
    }
}
