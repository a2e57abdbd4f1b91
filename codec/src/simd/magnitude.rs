//! Largest magnitude of a token.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;

/// Largest magnitude of some elements, as an element; no number, or infinite, where one of them is.
///
/// Magnitudes are in the order of their bits, and what is not finite is above the others.
pub(crate) fn largest_magnitude<E: Element>(isa: Isa, elements: &[u8]) -> f32 {
    let plain = |elements: &[u8]| {
        elements.chunks_exact(E::BYTES).fold(0, |largest, element| largest.max(E::load(element) & E::MAGNITUDE))
    };
    let bits = match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::Avx512 if E::BYTES == 2 => {
            let (registers, rest) = elements.as_chunks();
            u32::from(super::avx2::largest_magnitude(registers, E::MAGNITUDE as u16)).max(plain(rest))
        }
        _ => plain(elements),
    };
    E::to_f32(bits)
}
