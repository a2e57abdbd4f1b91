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
use crate::model::{Model, VALUE_CLASSES, model_set};
use crate::rows::{BLOCK_CHANNELS, SplitRows, TileRows};
use crate::simd::{self, ChannelModel, Isa, Outside, RUN, Window};
use crate::tile::rans::LANES;

/// Classes of spread: class `k` has deviations about `0.25 * 2^(k/4)`.
pub(super) const CLASSES: usize = 29;

/// The largest variance, in units of 2^-10, that each class but the last is best for: the product of its deviation and
/// the next one, and a twelfth for rounding.
const MAX_VARIANCES: [u64; CLASSES - 1] = [
    161, 193, 238, 301, 390, 516, 694, 946, 1_303, 1_807, 2_521, 3_530, 4_956, 6_974, 9_827, 13_863, 19_569, 27_640,
    39_053, 55_194, 78_021, 110_303, 155_957, 220_521, 311_829, 440_957, 623_572, 881_829,
];

/// The class that is best for a variance of `sum / count`, in units of 2^-10: for that rounded down.
///
/// `count` is below 2^40.
#[expect(clippy::arithmetic_side_effects, reason = "variances are below 2^20")]
pub(super) fn class_for(sum: u64, count: u64) -> usize {
    // Its integer part is above a whole number where it is not below the next one.
    MAX_VARIANCES.partition_point(|&max| (max + 1) * count <= sum)
}

/// How the values of a channel are coded.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueCoding {
    pub(super) model: &'static Model,
    pub(super) window: Window,
}

impl ValueCoding {
    /// A class, which is below [`CLASSES`], around a centre.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "a model has at most 15 symbols, and there are at most 4 raw bits"
    )]
    #[expect(clippy::indexing_slicing, reason = "the caller keeps the class in range")]
    pub(super) fn new(class: usize, centre: i8) -> Self {
        let model = &model_set().values[class];
        let [raw_bits, below] = VALUE_CLASSES[class];
        // Of the values of the middle symbol, the centre is the upper one of the two in its middle.
        let reach = (below << raw_bits) + ((1 << raw_bits) >> 1);
        let window = Window {
            base: centre.cast_unsigned().wrapping_sub(reach),
            len: model.len() << raw_bits,
            raw_bits: u32::from(raw_bits),
        };
        Self { model, window }
    }

    /// How the symbols decode.
    pub(super) fn channel_model(self) -> ChannelModel {
        ChannelModel { model: self.model, bias: self.window.bias() }
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

/// Puts the values of a channel in the place of its symbols with the window's bias, and calls `escape` for each token outside
/// of the window with the place of its value.
///
/// `escaped`: whether the channel has any such token.
pub(super) fn from_symbols(
    isa: Isa,
    window: Window,
    escaped: bool,
    rows: &mut TileRows,
    channel: usize,
    raw: &mut Cursor<'_>,
    mut escape: impl FnMut(usize, &mut u8) -> Result<()>,
) -> Result<()> {
    if window.raw_bits == 0 && !escaped {
        return Ok(());
    }
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
    fn windows_are_about_their_centre_and_leave_room_for_saturated_values() {
        for class in 0..CLASSES {
            let Window { base, len, .. } = ValueCoding::new(class, 0).window;
            let (first, last) = (i32::from(base.cast_signed()), i32::from(base.cast_signed()) + i32::from(len) - 1);
            assert!(first <= 0 && last >= 0 && first >= -126 && last <= 126, "{class}: {first}..={last}");
        }
    }

    #[test]
    fn wider_spreads_take_higher_classes() {
        assert_eq!([0, 161, 162, 3_000, u64::MAX].map(|variance| class_for(variance, 1)), [0, 0, 1, 11, 28]);
        assert_eq!([161 * 7 + 6, 162 * 7].map(|sum| class_for(sum, 7)), [0, 1]);
    }
}
