//! Choice of a channel's coding: the cheapest by the models' code lengths. Readers do not depend on it.

use std::sync::LazyLock;

use super::{ChannelCoding, ESCAPE_BITS};
use crate::model::{ALPHABET, ESCAPE, model_set};
use crate::rows::TileRows;
use crate::simd::{self, CostTable, Isa, MAX_MODELS};

/// One in so many exponents may lie above the top: an outlier does not move the window.
const OUTLIERS: usize = 256;

/// Chooses the coding of a channel from the complements of its exponents, and from whether its raw bits are all zero.
pub(super) fn choose(isa: Isa, rows: &TileRows, channel: usize, no_raw_bits: impl FnOnce() -> bool) -> ChannelCoding {
    let counts = count(rows, channel);
    let num_tokens = rows.num_tokens();
    let first = rows.channel(channel).next().and_then(|row| row.first()).map_or(0, |&complement| !complement);
    if counts[usize::from(first)] as usize == num_tokens {
        return match first {
            0 if no_raw_bits() => ChannelCoding::Zero,
            exponent => ChannelCoding::Constant { exponent },
        };
    }
    cheapest_window(isa, &counts, top(&counts, num_tokens))
}

/// How often each exponent occurs.
fn count(rows: &TileRows, channel: usize) -> [u16; 256] {
    let mut counts = [[0u16; 256]; 2];
    for row in rows.channel(channel) {
        // Two counts, so that equal neighbours do not wait for each other.
        for (place, &complement) in row.iter().enumerate() {
            counts[place % 2][usize::from(!complement)] += 1;
        }
    }
    let [even, odd] = counts;
    std::array::from_fn(|exponent| even[exponent] + odd[exponent])
}

/// The least exponent above which lie no more than the outliers.
fn top(counts: &[u16; 256], num_tokens: usize) -> u8 {
    let mut above = 0;
    for (exponent, &count) in counts.iter().enumerate().rev() {
        above += usize::from(count);
        if above > num_tokens / OUTLIERS {
            return exponent as u8;
        }
    }
    0
}

/// The cheapest model for windows that begin at the top and next to it.
fn cheapest_window(isa: Isa, counts: &[u16; 256], top: u8) -> ChannelCoding {
    let candidates = [top, top.saturating_add(1)].map(|top| {
        let sums = simd::weigh(isa, &window_counts(counts, top), costs()).into_iter();
        let sums = sums.take(model_set().exponents.len());
        let (model, cost) = sums.enumerate().min_by_key(|&(_, cost)| cost).unwrap_or_default();
        (cost, ChannelCoding::Window { model: model as u8, top })
    });
    let [(first, coding), (second, other)] = candidates;
    if second < first { other } else { coding }
}

/// How often each symbol occurs in the window below `top`.
fn window_counts(counts: &[u16; 256], top: u8) -> [u16; ALPHABET] {
    let mut window = [0; ALPHABET];
    let (inside, escape) = window.split_at_mut(usize::from(ESCAPE));
    let first = (usize::from(top) + 1).saturating_sub(inside.len());
    inside.iter_mut().zip(counts[first..=usize::from(top)].iter().rev()).for_each(|(to, &count)| *to = count);
    escape[0] = counts.iter().sum::<u16>() - inside.iter().sum::<u16>();
    window
}

/// Code lengths under the exponent models.
fn costs() -> &'static CostTable {
    static COSTS: LazyLock<CostTable> = LazyLock::new(|| {
        let mut table = [[[0; 2]; MAX_MODELS]; ALPHABET / 2];
        for (idx, model) in model_set().exponents.iter().enumerate() {
            for (symbol, cost) in model.costs(ESCAPE_BITS).into_iter().enumerate() {
                table[symbol / 2][idx][symbol % 2] = cost as i16;
            }
        }
        table
    });
    &COSTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(exponents: &[u8]) -> TileRows {
        let mut rows = TileRows::zeroed(1, exponents.len());
        let places = rows.channel_mut(0).flatten();
        places.zip(exponents).for_each(|(place, &exponent)| *place = !exponent);
        rows
    }

    #[test]
    fn equal_exponents_need_no_symbols() {
        let coding = |exponents: &[u8], zero| choose(Isa::SCALAR, &rows_of(exponents), 0, || zero);
        assert_eq!(coding(&[0; 40], true), ChannelCoding::Zero);
        assert_eq!(coding(&[0; 40], false), ChannelCoding::Constant { exponent: 0 });
        assert_eq!(coding(&[127; 3], true), ChannelCoding::Constant { exponent: 127 });
    }

    #[test]
    fn an_outlier_does_not_move_the_window() {
        let mut exponents: Vec<u8> = (0..256).map(|i: u32| 120 - i.trailing_zeros().min(8) as u8).collect();
        exponents[7] = 255;
        let ChannelCoding::Window { top, .. } = choose(Isa::SCALAR, &rows_of(&exponents), 0, || true) else {
            panic!("not constant")
        };
        assert!((120..=121).contains(&top), "{top}");
    }
}
