//! Choice of a channel's coding: the cheapest by the models' code lengths. Readers do not depend on it.

use super::{ChannelCoding, ESCAPE};
use crate::model::{COST_BITS, model_set};
use crate::simd::{self, Isa};

/// The commonest exponent lies this far below the top, at most, in some model.
const MAX_MODE: u8 = 4;
/// An escape costs a byte beyond its symbol.
const ESCAPE_COST: u64 = 8 << COST_BITS;

/// Chooses the coding of a channel from its exponents, and from whether its raw bits are all zero.
pub(super) fn choose(isa: Isa, exponents: &[u8], no_raw_bits: impl FnOnce() -> bool) -> ChannelCoding {
    let mut counts = [0u32; 256];
    exponents.iter().for_each(|&exponent| counts[usize::from(exponent)] += 1);
    let (mode, &count) = counts.iter().enumerate().max_by_key(|&(_, count)| count).unwrap_or((0, &0));
    let mode = mode as u8;
    if (count as usize) < exponents.len() {
        return cheapest_window(isa, &counts, mode);
    }
    match mode {
        0 if no_raw_bits() => ChannelCoding::Zero,
        exponent => ChannelCoding::Constant { exponent },
    }
}

fn cheapest_window(isa: Isa, counts: &[u32; 256], mode: u8) -> ChannelCoding {
    let tops = mode..=mode.saturating_add(MAX_MODE);
    let candidates = tops.map(|top| {
        let window = window_counts(counts, top);
        let sums = simd::weigh(isa, &window, &model_set().exponent_costs).into_iter();
        let sums = sums.take(model_set().exponents.len());
        let (model, cost) = sums.enumerate().min_by_key(|&(_, cost)| cost).unwrap_or_default();
        let escapes = ESCAPE_COST * u64::from(window[usize::from(ESCAPE)]);
        (u64::from(cost) + escapes, ChannelCoding::Window { model: model as u8, top })
    });
    let fallback = ChannelCoding::Window { model: 0, top: mode };
    candidates.min_by_key(|&(cost, _)| cost).map_or(fallback, |(_, coding)| coding)
}

/// How often each symbol occurs in the window below `top`.
fn window_counts(counts: &[u32; 256], top: u8) -> [u32; ESCAPE as usize + 1] {
    let mut window = [0; ESCAPE as usize + 1];
    let (inside, escape) = window.split_at_mut(usize::from(ESCAPE));
    let first = (usize::from(top) + 1).saturating_sub(inside.len());
    inside.iter_mut().zip(counts[first..=usize::from(top)].iter().rev()).for_each(|(to, &count)| *to = count);
    escape[0] = counts.iter().sum::<u32>() - inside.iter().sum::<u32>();
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_exponents_need_no_symbols() {
        assert_eq!(choose(Isa::SCALAR, &[0; 40], || true), ChannelCoding::Zero);
        assert_eq!(choose(Isa::SCALAR, &[0; 40], || false), ChannelCoding::Constant { exponent: 0 });
        assert_eq!(choose(Isa::SCALAR, &[127; 3], || true), ChannelCoding::Constant { exponent: 127 });
    }

    #[test]
    fn an_outlier_does_not_move_the_window() {
        let mut exponents: Vec<u8> = (0..256).map(|i: u32| 120 - i.trailing_zeros().min(8) as u8).collect();
        exponents[7] = 255;
        let ChannelCoding::Window { top, .. } = choose(Isa::SCALAR, &exponents, || true) else {
            panic!("not constant")
        };
        assert!((120..=124).contains(&top), "{top}");
    }
}
