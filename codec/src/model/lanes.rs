//! Models as vectors of lanes hold them.

use super::{PROBABILITY_BITS, Slice};

/// Most symbols of an alphabet.
pub(crate) const MAX_ALPHABET: usize = 32;

/// First slots, frequencies and reciprocals of a model's symbols, each in a register or two.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct LaneTable {
    /// First slot of each symbol; beyond the alphabet, above all slots.
    pub(crate) starts: [u16; MAX_ALPHABET],
    /// Slots of each symbol.
    pub(crate) freqs: [u16; MAX_ALPHABET],
}

/// The model of a channel without coded symbols: symbol 0 has all slots, so that states stay as they are.
pub(crate) static CONSTANT: LaneTable = {
    let mut table = LaneTable { starts: [u16::MAX; MAX_ALPHABET], freqs: [0; MAX_ALPHABET] };
    table.starts[0] = 0;
    table.freqs[0] = 1 << PROBABILITY_BITS;
    table
};

impl LaneTable {
    pub(super) fn new(slices: &[Slice]) -> Self {
        let mut table = Self { starts: [u16::MAX; MAX_ALPHABET], freqs: [0; MAX_ALPHABET] };
        for (symbol, slice) in slices.iter().enumerate() {
            table.starts[symbol] = slice.start as u16;
            table.freqs[symbol] = slice.freq as u16;
        }
        table
    }
}
