//! Channels of small integers under the value models, as all levels but Q0 have them. `FORMAT.md`, "Values".
//!
//! A width is a model and a number of raw low bits; a window puts it around a centre. What lies outside of the window is
//! an escape, whose form is the level's.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use crate::Result;
use crate::cursor::Cursor;
use crate::model::{Model, model_set};
use crate::rows::{BLOCK_CHANNELS, SplitRows, TileRows};
use crate::simd::{self, Isa, Outside, RUN, Window};
use crate::tile::rans::LANES;

/// How widely the values of a channel are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width {
    /// Which of the value models.
    model: usize,
    /// Low bits of the values that are not coded.
    raw_bits: u32,
    /// The largest variance that this width is best for, in units of 2^-10.
    max_variance: u64,
}

const fn width(model: usize, raw_bits: u32, max_variance: u64) -> Width {
    Width { model, raw_bits, max_variance }
}

/// All widths, narrow to wide: deviations of 0.25, 0.5, 0.675, 0.911, 1.23, 1.66 and 2.24, then pairs of the two last ones
/// times 2, 4, 8 and 16. Each is best up to the product of its deviation and the next one, and a twelfth for rounding.
pub(super) const WIDTHS: [Width; 15] = [
    width(0, 0, 213),
    width(1, 0, 431),
    width(2, 0, 715),
    width(3, 0, 1_233),
    width(4, 0, 2_177),
    width(5, 0, 3_899),
    width(6, 0, 7_712),
    width(5, 1, 15_339),
    width(6, 1, 30_592),
    width(5, 2, 61_098),
    width(6, 2, 122_144),
    width(5, 3, 244_209),
    width(6, 3, 488_430),
    width(5, 4, 976_800),
    width(6, 4, u64::MAX),
];

/// The narrowest of the first `count` widths that is best for the variance `variance / unit`, in units of 2^-10, whose
/// whole part decides.
pub(super) fn width_for(variance: u64, unit: u64, count: usize) -> usize {
    // Only the last product may wrap, and nothing is wider than the last.
    let exceeds = |width: &Width| variance >= width.max_variance.saturating_add(1).wrapping_mul(unit);
    let narrower: usize = WIDTHS.iter().take(count).map(|width| usize::from(exceeds(width))).sum();
    narrower.min(count.saturating_sub(1))
}

/// How the values of a channel are coded.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueCoding {
    pub(super) model: &'static Model,
    pub(super) window: Window,
}

impl ValueCoding {
    /// A width around a centre: of an even number of values in the middle of the window, it is the upper one.
    ///
    /// `width` is an index into [`WIDTHS`].
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "a model has at most 15 symbols, and there are at most 4 raw bits"
    )]
    #[expect(clippy::indexing_slicing, reason = "the caller keeps the width in range")]
    pub(super) fn new(width: usize, centre: i8) -> Self {
        let Width { model, raw_bits, .. } = WIDTHS[width];
        let model = &model_set().values[model];
        let below = ((model.len() >> 1) << raw_bits) + ((1 << raw_bits) >> 1);
        let base = centre.cast_unsigned().wrapping_sub(below);
        Self { model, window: Window { base, len: model.len() << raw_bits, raw_bits } }
    }
}

/// Puts the symbols of a channel in the place of its values, adds its raw bits, and calls `escape` for each token whose
/// value, the second argument, is outside of the window.
pub(super) fn to_symbols(
    isa: Isa,
    window: Window,
    rows: &mut TileRows,
    channel: usize,
    raw: &mut Vec<u8>,
    mut escape: impl FnMut(usize, u8),
) {
    let num_tokens = rows.num_tokens();
    let SplitRows { whole, short } = rows.split_block_mut(channel / BLOCK_CHANNELS);
    let channel = channel % BLOCK_CHANNELS;
    let mut outside = Outside::default();
    for (run_idx, run) in whole.chunks_mut(RUN).enumerate() {
        if simd::to_symbols(isa, window, run, channel, raw, &mut outside) {
            let first_tokens = (run_idx.saturating_mul(RUN).saturating_mul(LANES)..).step_by(LANES);
            for ((mask, values), first_token) in
                outside.masks.iter().zip(&outside.values).zip(first_tokens).take(run.len())
            {
                for_each_bit(*mask, |lane, value| escape(first_token.saturating_add(lane), value), values);
            }
        }
    }
    if let Some((square, short_tokens)) = short {
        let row = square.get_mut(channel).map_or(&mut [][..], |row| row);
        let values = row.to_vec();
        let mask = simd::to_symbols_short(window, row.get_mut(..short_tokens).unwrap_or_default(), raw);
        let first_token = num_tokens.saturating_sub(short_tokens);
        for_each_bit(mask, |lane, value| escape(first_token.saturating_add(lane), value), &values);
    }
}

fn for_each_bit(mut mask: u32, mut with: impl FnMut(usize, u8), values: &[u8]) {
    while mask != 0 {
        let lane = mask.trailing_zeros() as usize;
        with(lane, values.get(lane).copied().unwrap_or_default());
        mask &= mask.wrapping_sub(1);
    }
}

/// Puts the values of a channel in the place of its symbols, and calls `escape` for each token outside of the window with
/// the place of its value.
pub(super) fn from_symbols(
    isa: Isa,
    window: Window,
    rows: &mut TileRows,
    channel: usize,
    raw: &mut Cursor<'_>,
    mut escape: impl FnMut(usize, &mut u8) -> Result<()>,
) -> Result<()> {
    let num_tokens = rows.num_tokens();
    let SplitRows { whole, short } = rows.split_block_mut(channel / BLOCK_CHANNELS);
    let channel = channel % BLOCK_CHANNELS;
    let mut escapes = [0; RUN];
    for (run_idx, run) in whole.chunks_mut(RUN).enumerate() {
        let planes = raw.take(row_raw_bytes(LANES, window.raw_bits).saturating_mul(run.len()), "raw bits of rows")?;
        if simd::from_symbols(isa, window, run, channel, planes, &mut escapes) {
            let first_tokens = (run_idx.saturating_mul(RUN).saturating_mul(LANES)..).step_by(LANES);
            for ((square, mask), first_token) in run.iter_mut().zip(escapes).zip(first_tokens) {
                let row = square.get_mut(channel).map_or(&mut [][..], |row| row);
                for_each_escape(mask, first_token, row, &mut escape)?;
            }
        }
    }
    if let Some((square, short_tokens)) = short {
        let planes = raw.take(row_raw_bytes(short_tokens, window.raw_bits), "raw bits of a row")?;
        let row = square.get_mut(channel).and_then(|row| row.get_mut(..short_tokens)).unwrap_or_default();
        let mask = simd::from_symbols_short(window, row, planes);
        for_each_escape(mask, num_tokens.saturating_sub(short_tokens), row, &mut escape)?;
    }
    Ok(())
}

/// Calls `escape` for each token in a row's mask, with the place of its value.
fn for_each_escape(
    mut mask: u32,
    first_token: usize,
    row: &mut [u8],
    escape: &mut impl FnMut(usize, &mut u8) -> Result<()>,
) -> Result<()> {
    while mask != 0 {
        let lane = mask.trailing_zeros() as usize;
        if let Some(place) = row.get_mut(lane) {
            escape(first_token.saturating_add(lane), place)?;
        }
        mask &= mask.wrapping_sub(1);
    }
    Ok(())
}

/// Bytes of the raw bits of a row.
fn row_raw_bytes(num_tokens: usize, raw_bits: u32) -> usize {
    num_tokens.div_ceil(8).saturating_mul(raw_bits as usize)
}

/// Bytes of the raw bits of a channel.
pub(super) fn raw_bytes(num_tokens: usize, raw_bits: u32) -> usize {
    let whole_rows = num_tokens.checked_div(LANES).unwrap_or_default();
    let last = num_tokens.checked_rem(LANES).unwrap_or_default();
    whole_rows.saturating_mul(row_raw_bytes(LANES, raw_bits)).saturating_add(row_raw_bytes(last, raw_bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_their_centre_and_reach_equally_far() {
        for width in 0..WIDTHS.len() {
            let Window { base, len, .. } = ValueCoding::new(width, 0).window;
            let (first, last) = (i32::from(base.cast_signed()), i32::from(base.cast_signed()) + i32::from(len) - 1);
            assert!((first + last).abs() <= 1 && first >= -126 && last <= 126, "{width}: {first}..={last}");
        }
    }

    #[test]
    fn wider_spreads_take_wider_windows() {
        assert_eq!([0, 213, 214, 3_000, u64::MAX].map(|variance| width_for(variance, 1, 15)), [0, 0, 1, 5, 14]);
        assert_eq!(width_for(u64::MAX, 1, 11), 10);
        assert_eq!([214 * 9 - 1, 214 * 9].map(|variance| width_for(variance, 9, 11)), [0, 1]);
    }
}
