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
    /// The largest number that is not above the inverse of each frequency.
    pub(crate) reciprocals: [f32; MAX_ALPHABET],
}

/// The model of a channel without coded symbols: symbol 0 has all slots, so that states stay as they are.
pub(crate) static CONSTANT: LaneTable = {
    let mut table = LaneTable::EMPTY;
    table.reciprocals[0] = 1.0 / (1 << PROBABILITY_BITS) as f32;
    table.starts[0] = 0;
    table.freqs[0] = 1 << PROBABILITY_BITS;
    table
};

impl LaneTable {
    const EMPTY: Self =
        Self { starts: [u16::MAX; MAX_ALPHABET], freqs: [0; MAX_ALPHABET], reciprocals: [0.0; MAX_ALPHABET] };

    pub(super) fn new(slices: &[Slice]) -> Self {
        let mut table = Self::EMPTY;
        for (symbol, slice) in slices.iter().enumerate() {
            table.starts[symbol] = slice.start as u16;
            table.freqs[symbol] = slice.freq as u16;
            table.reciprocals[symbol] = reciprocal(slice.freq);
        }
        table
    }
}

fn reciprocal(freq: u32) -> f32 {
    let nearest = 1.0 / freq as f32;
    if f64::from(nearest) * f64::from(freq) > 1.0 { nearest.next_down() } else { nearest }
}
