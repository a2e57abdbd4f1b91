//! Symbols to elements by a table per token.

use super::Isa;
use super::isa::Kind;
use crate::model::MAX_ALPHABET;
use crate::plane::ChannelBlock;
use crate::rows::SymbolRows;

/// What the symbols of a plane stand for.
#[derive(Debug)]
pub(crate) struct Dequantizer {
    /// `[token][32]`: the element of each symbol; with 16 symbols, twice.
    pub(crate) elements: Vec<u8>,
    /// Bytes of an element.
    pub(crate) element_bytes: usize,
    /// The alphabet's size less one.
    pub(crate) symbol_mask: u8,
}

impl Dequantizer {
    /// Elements of one token's symbols.
    pub(crate) fn token(&self, token: usize) -> &[u8] {
        let bytes = MAX_ALPHABET * self.element_bytes;
        &self.elements[token * bytes..(token + 1) * bytes]
    }
}

/// Writes the elements of a block of channels and gives the largest symbol.
///
/// `shifts`: what to add to the symbols of each channel, modulo the alphabet.
pub(crate) fn dequantize(
    isa: Isa,
    dequantizer: &Dequantizer,
    symbols: &SymbolRows,
    shifts: &[u8],
    block: &mut ChannelBlock<'_>,
) -> u8 {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => match (dequantizer.element_bytes, shifts.try_into()) {
            (2, Ok(shifts)) => super::avx512::dequantize(dequantizer, symbols, shifts, block),
            _ => dequantize_scalar(dequantizer, symbols, shifts, block),
        },
        Kind::Scalar => dequantize_scalar(dequantizer, symbols, shifts, block),
    }
}

fn dequantize_scalar(
    dequantizer: &Dequantizer,
    symbols: &SymbolRows,
    shifts: &[u8],
    block: &mut ChannelBlock<'_>,
) -> u8 {
    let mut largest = 0;
    for (channel, shift) in shifts.iter().enumerate() {
        for (token, coded) in symbols.channel(channel).iter().enumerate() {
            let symbol = coded.wrapping_add(*shift) & dequantizer.symbol_mask;
            largest = largest.max(symbol);
            let from = usize::from(symbol) * dequantizer.element_bytes;
            let element = &dequantizer.token(token)[from..from + dequantizer.element_bytes];
            block.element_mut(token, channel).copy_from_slice(element);
        }
    }
    largest
}
