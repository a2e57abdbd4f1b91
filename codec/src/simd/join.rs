//! bf16 elements from exponents and raw bits.

use super::Isa;
use super::isa::Kind;
use crate::element::Element;
use crate::plane::ChannelBlock;
use crate::rows::SymbolRows;

/// The parts of a block of channels of bf16 elements.
#[derive(Debug)]
pub(crate) struct Bf16Rows {
    /// Biased exponents.
    pub(crate) exponents: SymbolRows,
    /// The sign above the mantissa.
    pub(crate) raw: SymbolRows,
    /// Channels in the block.
    pub(crate) num_channels: usize,
}

/// Writes the elements of a block of channels.
pub(crate) fn join_bf16(isa: Isa, rows: &Bf16Rows, block: &mut ChannelBlock<'_>) {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if rows.num_channels == super::avx512::BLOCK_CHANNELS => super::avx512::join_bf16(rows, block),
        _ => join_scalar(rows, block),
    }
}

fn join_scalar(rows: &Bf16Rows, block: &mut ChannelBlock<'_>) {
    for channel in 0..rows.num_channels {
        let parts = rows.exponents.channel(channel).iter().zip(rows.raw.channel(channel));
        for (token, (&exponent, &raw)) in parts.enumerate() {
            let bits = half::bf16::join(exponent, u32::from(raw));
            half::bf16::store(bits, block.element_mut(token, channel));
        }
    }
}
