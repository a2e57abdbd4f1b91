//! Elements to exponents and raw bits and back, for bf16, whose raw bits are a byte.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;
use crate::plane::{BlockView, BlockViewMut};
use crate::rows::Square;
use half::bf16;

/// Splits one row of a block: the complements of the biased exponents, and the signs above the mantissas, both
/// `[token][channel]`.
pub(crate) fn split(isa: Isa, block: &BlockView<'_>, tokens: std::ops::Range<usize>) -> [Square; 2] {
    let [mut exponents, mut raw] = [[[0; 32]; 32]; 2];
    for (token, (exponents, raw)) in tokens.zip(exponents.iter_mut().zip(&mut raw)) {
        let line = block.line(token);
        match (isa.kind(), <&[u8; 64]>::try_from(line)) {
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx2, Ok(line)) => super::avx2::split_line(line, exponents, raw),
            _ => {
                let parts = exponents.iter_mut().zip(raw);
                for (element, (exponent, raw)) in line.chunks_exact(bf16::BYTES).zip(parts) {
                    let (biased, bits) = bf16::split(bf16::load(element));
                    (*exponent, *raw) = (!biased, bits as u8);
                }
            }
        }
    }
    [exponents, raw]
}

/// Writes the elements of one row of a block: the inverse of [`split`].
pub(crate) fn join(
    isa: Isa,
    [exponents, raw]: &[Square; 2],
    tokens: std::ops::Range<usize>,
    block: &mut BlockViewMut<'_>,
) {
    for (token, (exponents, raw)) in tokens.zip(exponents.iter().zip(raw)) {
        let line = block.line_mut(token);
        match (isa.kind(), <&mut [u8; 64]>::try_from(&mut *line)) {
            #[cfg(target_arch = "x86_64")]
            (Kind::Avx2, Ok(line)) => super::avx2::join_line(exponents, raw, line),
            _ => {
                let parts = exponents.iter().zip(raw);
                for (element, (exponent, raw)) in line.chunks_exact_mut(bf16::BYTES).zip(parts) {
                    bf16::store(bf16::join(!exponent, u32::from(*raw)), element);
                }
            }
        }
    }
}
