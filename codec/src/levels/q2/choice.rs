//! Choice of a channel's coding: the cheapest by the models' code lengths. Readers do not depend on it.

use super::ChannelCoding;
use super::quantizer::Bins;
use crate::model::MAX_ALPHABET;
use crate::simd::{self, Isa};

/// Chooses the coding of a channel from its symbols.
pub(super) fn choose(isa: Isa, symbols: &[u8], bins: Bins) -> ChannelCoding {
    let counts = simd::histogram(isa, symbols);
    let mean = rounded_mean(&counts, symbols.len());
    if counts[usize::from(mean)] as usize == symbols.len() {
        return ChannelCoding { width: 0, shift: mean };
    }
    let shifts = mean.saturating_sub(1)..=(mean + 1).min(bins.max_symbol());
    let candidates = shifts.map(|shift| {
        let sums = simd::weigh(isa, &shifted(&counts, shift, bins), bins.costs());
        let sums = sums.into_iter().take(bins.models().len());
        let (model, cost) = sums.enumerate().min_by_key(|&(_, cost)| cost).unwrap_or_default();
        (cost, model, shift)
    });
    let (_, model, shift) = candidates.min_by_key(|&(cost, ..)| cost).unwrap_or_default();
    ChannelCoding { width: model as u8 + 1, shift }
}

/// Mean symbol, rounded to the nearest: models are symmetric, so their center belongs there.
fn rounded_mean(counts: &[u32; MAX_ALPHABET], num_symbols: usize) -> u8 {
    let sum: usize = counts.iter().enumerate().map(|(symbol, &count)| symbol * count as usize).sum();
    ((2 * sum + num_symbols) / (2 * num_symbols.max(1))) as u8
}

/// Counts by coded symbol: less the shift, modulo the alphabet.
fn shifted(counts: &[u32; MAX_ALPHABET], shift: u8, bins: Bins) -> [u32; MAX_ALPHABET] {
    let mut shifted = *counts;
    shifted[..usize::from(bins.count())].rotate_left(usize::from(shift));
    shifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_symbols_are_not_coded() {
        for symbol in [0, 7, 14] {
            assert_eq!(choose(Isa::SCALAR, &[symbol; 33], Bins::Sixteen), ChannelCoding { width: 0, shift: symbol });
        }
    }

    #[test]
    fn the_shift_follows_the_mean_and_the_width_the_spread() {
        let narrow: Vec<u8> = (0..256).map(|i| 20 + u8::from(i % 16 == 0)).collect();
        let wide: Vec<u8> = (0..=255u8).map(|i| i % 31).collect();
        let [narrow, wide] = [narrow, wide].map(|symbols| choose(Isa::SCALAR, &symbols, Bins::ThirtyTwo));
        assert_eq!(narrow.shift, 20);
        assert!(narrow.width < wide.width, "{narrow:?} {wide:?}");
    }
}
