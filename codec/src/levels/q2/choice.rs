//! Choice of a channel's coding: the cheapest by the models' code lengths. Readers do not depend on it.

use super::ChannelCoding;
use super::quantizer::Bins;
use crate::model::MAX_ALPHABET;

/// Chooses the coding of a channel from its symbols.
pub(super) fn choose(symbols: &[u8], bins: Bins) -> ChannelCoding {
    let mut counts = [0u32; MAX_ALPHABET];
    symbols.iter().for_each(|&symbol| counts[usize::from(symbol)] += 1);
    let mean = rounded_mean(symbols);
    if counts[usize::from(mean)] as usize == symbols.len() {
        return ChannelCoding { width: 0, shift: mean };
    }
    let shifts = mean.saturating_sub(1)..=(mean + 1).min(bins.max_symbol());
    let candidates = shifts.flat_map(|shift| (0..bins.models().len()).map(move |model| (model, shift)));
    let cheapest = candidates.min_by_key(|&(model, shift)| cost(&counts, bins.models()[model].costs(), shift));
    let (model, shift) = cheapest.unwrap_or((0, mean));
    ChannelCoding { width: model as u8 + 1, shift }
}

/// Mean symbol, rounded to the nearest: models are symmetric, so their center belongs there.
fn rounded_mean(symbols: &[u8]) -> u8 {
    let sum: usize = symbols.iter().map(|&symbol| usize::from(symbol)).sum();
    ((2 * sum + symbols.len()) / (2 * symbols.len().max(1))) as u8
}

/// Sum of the code lengths; at most 4096 symbols of at most 12 bits, in units of 2^-8: no sum overflows.
fn cost(counts: &[u32; MAX_ALPHABET], costs: &[u32], shift: u8) -> u32 {
    let (below, from) = counts[..costs.len()].split_at(usize::from(shift));
    let (of_from, of_below) = costs.split_at(from.len());
    dot(from, of_from).wrapping_add(dot(below, of_below))
}

fn dot(counts: &[u32], costs: &[u32]) -> u32 {
    counts.iter().zip(costs).fold(0, |sum, (&count, &cost)| sum.wrapping_add(count.wrapping_mul(cost)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_symbols_are_not_coded() {
        for symbol in [0, 7, 14] {
            assert_eq!(choose(&[symbol; 33], Bins::Sixteen), ChannelCoding { width: 0, shift: symbol });
        }
    }

    #[test]
    fn the_shift_follows_the_mean_and_the_width_the_spread() {
        let narrow: Vec<u8> = (0..256).map(|i| 20 + u8::from(i % 16 == 0)).collect();
        let wide: Vec<u8> = (0..=255u8).map(|i| i % 31).collect();
        let [narrow, wide] = [narrow, wide].map(|symbols| choose(&symbols, Bins::ThirtyTwo));
        assert_eq!(narrow.shift, 20);
        assert!(narrow.width < wide.width, "{narrow:?} {wide:?}");
    }
}
