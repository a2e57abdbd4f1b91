//! Choice of a channel's coding: the cheapest by the models' code lengths. Readers do not depend on it.

use std::sync::LazyLock;

use super::{ChannelCoding, ESCAPE_BITS};
use crate::model::{ALPHABET, ESCAPE, model_set};
use crate::rows::TileRows;
use crate::simd::{self, COUNTED, CostTable, Isa, LeastCounts, MAX_MODELS};

/// One in so many exponents may lie above the top: an outlier does not move the window.
const OUTLIERS: usize = 256;

/// Chooses the coding of a channel from the complements of its exponents, and from whether its raw bits are all zero.
pub(super) fn choose(isa: Isa, rows: &TileRows, channel: usize, no_raw_bits: impl FnOnce() -> bool) -> ChannelCoding {
    let num_tokens = rows.num_tokens();
    let LeastCounts { least, counts } = simd::count_least(isa, rows, channel, num_tokens / OUTLIERS);
    let top = !least;
    if usize::from(counts[1]) == num_tokens {
        return match top {
            0 if no_raw_bits() => ChannelCoding::Zero,
            exponent => ChannelCoding::Constant { exponent },
        };
    }
    cheapest_window(isa, &counts, num_tokens, top)
}

/// The cheapest model for windows that begin at the top and next to it. The counts are those of `top + 1` and down.
fn cheapest_window(isa: Isa, counts: &[u16; COUNTED], num_tokens: usize, top: u8) -> ChannelCoding {
    let coding = |skipped, top| {
        let (model, cost) = simd::cheapest(isa, &window_counts(&counts[skipped..], num_tokens), costs());
        (cost, ChannelCoding::Window { model, top })
    };
    let (first, at_top) = coding(1, top);
    let (second, above) = coding(0, top.saturating_add(1));
    if second < first && top < u8::MAX { above } else { at_top }
}

/// How often each symbol occurs in a window whose exponents occur as often as `counts` says.
fn window_counts(counts: &[u16], num_tokens: usize) -> [u16; ALPHABET] {
    let mut window = [0; ALPHABET];
    let (inside, escape) = window.split_at_mut(usize::from(ESCAPE));
    inside.iter_mut().zip(counts).for_each(|(to, &count)| *to = count);
    escape[0] = num_tokens as u16 - inside.iter().sum::<u16>();
    window
}

/// Code lengths under the exponent models.
fn costs() -> &'static CostTable {
    static COSTS: LazyLock<CostTable> = LazyLock::new(|| {
        let mut table = [[[i16::MAX; 2]; MAX_MODELS]; ALPHABET / 2];
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
