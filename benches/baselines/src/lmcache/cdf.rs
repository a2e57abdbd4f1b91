//! Cumulative frequencies of a channel's symbols.

use crate::reader::u16s;

/// Symbols that a table covers, whatever the bins of its plane.
pub(super) const NUM_SYMBOLS: usize = 32;
/// Entries of a table as it is stored: one more than symbols.
const NUM_ENTRIES: usize = NUM_SYMBOLS + 1;
/// Bytes of a table as it is stored.
pub(super) const CDF_BYTES: usize = 2 * NUM_ENTRIES;
/// What all frequencies add up to in the coder.
const TOTAL: u32 = 1 << 16;
/// What the counts are scaled to: every symbol gets one more, so that none is impossible.
const SCALED_TOTAL: u32 = 0xffff - NUM_SYMBOLS as u32;

/// Cumulative frequencies, rising, from 0.
pub(super) struct Cdf([u16; NUM_ENTRIES]);

impl Cdf {
    /// Counts the symbols of a channel, all below [`NUM_SYMBOLS`].
    pub(super) fn count(symbols: &[u8]) -> Self {
        let mut counts = [0u32; NUM_SYMBOLS];
        for &symbol in symbols {
            counts[usize::from(symbol)] += 1;
        }
        let mut entries = [0; NUM_ENTRIES];
        let (mut sum, total) = (0, symbols.len() as u32);
        for (symbol, count) in counts.into_iter().enumerate() {
            sum += count;
            entries[symbol + 1] = (SCALED_TOTAL * sum / total + symbol as u32 + 1) as u16;
        }
        Self(entries)
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.0.iter().flat_map(|entry| entry.to_le_bytes()));
    }

    /// Reads [`CDF_BYTES`] bytes; nothing when they do not rise from 0.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut entries = [0; NUM_ENTRIES];
        entries.iter_mut().zip(u16s(bytes)).for_each(|(entry, stored)| *entry = stored);
        (entries[0] == 0 && entries.is_sorted_by(|a, b| a < b)).then_some(Self(entries))
    }

    /// Where the range of a symbol starts and ends, of 2^16. The last symbol has all that is left.
    pub(super) fn range(&self, symbol: u8) -> (u32, u32) {
        let symbol = usize::from(symbol);
        let end = if symbol == NUM_SYMBOLS - 1 { TOTAL } else { u32::from(self.0[symbol + 1]) };
        (u32::from(self.0[symbol]), end)
    }

    /// The symbol whose range holds `point`.
    pub(super) fn symbol_at(&self, point: u32) -> u8 {
        let after = self.0[..NUM_SYMBOLS].partition_point(|&start| u32::from(start) <= point);
        after.saturating_sub(1) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_has_a_range_and_they_cover_all() {
        let cdf = Cdf::count(&[7; 256]);
        let ranges: Vec<_> = (0..NUM_SYMBOLS as u8).map(|symbol| cdf.range(symbol)).collect();
        assert!(ranges.iter().all(|(start, end)| start < end));
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert_eq!((ranges[0].0, ranges[31].1), (0, TOTAL));
        for (symbol, (start, end)) in ranges.iter().enumerate() {
            assert_eq!([cdf.symbol_at(*start), cdf.symbol_at(end - 1)], [symbol as u8; 2]);
        }
    }
}
