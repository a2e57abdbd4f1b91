//! Largest magnitude of a token.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;

/// Largest magnitude of some elements, as an element; no number, or infinite, where one of them is.
///
/// Magnitudes are in the order of their bits, and what is not finite is above the others.
pub(crate) fn largest_magnitude<E: Element>(isa: Isa, elements: &[u8]) -> f32 {
    let bits = match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if E::BYTES == 2 => {
            u32::from(super::avx512::largest_magnitude(elements.as_chunks().0, E::MAGNITUDE as u16))
        }
        _ => elements.chunks_exact(E::BYTES).fold(0, |largest, element| largest.max(E::load(element) & E::MAGNITUDE)),
    };
    E::to_f32(bits)
}
