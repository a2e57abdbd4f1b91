//! Values of a channel to symbols and back, row by row.

use super::Isa;
use super::isa::Kind;
use crate::model::ESCAPE;
use crate::rows::{BLOCK_CHANNELS, Row, SplitRows, Square, TileRows};
use crate::tile::rans::LANES;

/// What the symbols of a channel stand for: symbol `s` other than [`ESCAPE`] and the raw bits `r` are the value
/// `base + (s << raw_bits) + r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// The least value; all arithmetic is modulo 2^8.
    pub(crate) base: u8,
    /// Number of values that have a symbol.
    pub(crate) len: u8,
    /// Low bits that are not coded, at most 4.
    pub(crate) raw_bits: u32,
}

impl Window {
    /// What makes values of symbols when it is added, where there are no raw bits; else 0.
    #[inline]
    pub(crate) fn bias(self) -> u8 {
        if self.raw_bits == 0 { self.base } else { 0 }
    }
}

/// Sums over the values of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Moments {
    pub(crate) sum: i32,
    pub(crate) squares: u32,
}

/// Sums of the values, -127 to 127, of a channel.
#[inline]
pub(crate) fn moments(isa: Isa, rows: &TileRows, channel: usize) -> Moments {
    match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::Avx512 if rows.num_tokens().is_multiple_of(32) => super::avx2::moments(rows, channel),
        _ => {
            let values = rows.channel(channel).flatten().map(|&value| i32::from(value.cast_signed()));
            values.fold(Moments::default(), |moments, value| Moments {
                sum: moments.sum + value,
                squares: moments.squares + (value * value) as u32,
            })
        }
    }
}

/// Rows that one call takes at most.
pub(crate) const RUN: usize = 8;

/// What [`to_symbols`] says about each row.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// The tokens whose value is outside of the window.
    pub(crate) masks: [u32; RUN],
    /// The values that were there.
    pub(crate) values: [Row; RUN],
}

/// Puts the symbols of a channel of up to [`RUN`] whole rows in the place of its values, adds the planes of the rows' raw
/// bits, and says whether any value is outside of the window.
///
/// A plane has one bit of each token: bit `t mod 8` of byte `t div 8`.
#[inline]
pub(crate) fn to_symbols(
    isa: Isa,
    window: Window,
    run: &mut [Square],
    channel: usize,
    planes: &mut Vec<u8>,
    outside: &mut Outside,
) -> bool {
    match isa.kind() {
        Kind::Scalar => {
            let rows = run.iter_mut().zip(outside.masks.iter_mut().zip(&mut outside.values));
            for (square, (mask, values)) in rows {
                *values = square[channel];
                *mask = to_symbols_short(window, &mut square[channel], planes);
            }
            outside.masks[..run.len()].iter().any(|&mask| mask != 0)
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::to_symbols(window, run, channel, planes, outside),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::to_symbols(window, run, channel, planes, outside),
    }
}

/// The same for one row of any number of tokens; the mask has the tokens outside.
pub(crate) fn to_symbols_short(window: Window, row: &mut [u8], planes: &mut Vec<u8>) -> u32 {
    let mut outside = 0;
    let mut raw = [0u32; 4];
    for (token, value) in row.iter_mut().enumerate() {
        let offset = value.wrapping_sub(window.base);
        if offset >= window.len {
            outside |= 1 << token;
            *value = ESCAPE;
        } else {
            raw.iter_mut().enumerate().for_each(|(bit, plane)| *plane |= u32::from(offset >> bit & 1) << token);
            *value = offset >> window.raw_bits;
        }
    }
    for plane in &raw[..window.raw_bits as usize] {
        planes.extend_from_slice(&plane.to_le_bytes()[..row.len().div_ceil(8)]);
    }
    outside
}

/// Puts the values of a channel of up to [`RUN`] whole rows in the place of its symbols, to which the bias of the window was
/// added, and says whether there are escapes: `escapes` gets a mask of each row, with the tokens whose symbol is
/// [`ESCAPE`], whose values mean nothing.
///
/// `planes`: those of the rows, as [`to_symbols`] adds them.
#[inline]
pub(crate) fn from_symbols(
    isa: Isa,
    window: Window,
    run: &mut [Square],
    channel: usize,
    planes: &[u8],
    escapes: &mut [u32; RUN],
) -> bool {
    match isa.kind() {
        Kind::Scalar => {
            let row_planes = window.raw_bits as usize * size_of::<u32>();
            for (row, (square, escapes)) in run.iter_mut().zip(&mut *escapes).enumerate() {
                let planes = &planes[row * row_planes..(row + 1) * row_planes];
                *escapes = from_symbols_short(window, &mut square[channel], planes);
            }
            escapes[..run.len()].iter().any(|&escapes| escapes != 0)
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::from_symbols(window, run, channel, planes.as_chunks().0, escapes),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::from_symbols(window, run, channel, planes.as_chunks().0, escapes),
    }
}

/// The same for one row of any number of tokens.
pub(crate) fn from_symbols_short(window: Window, row: &mut [u8], planes: &[u8]) -> u32 {
    let plane_bytes = row.len().div_ceil(8).max(1);
    let mut escapes = 0;
    for (token, place) in row.iter_mut().enumerate() {
        let symbol = place.wrapping_sub(window.bias());
        escapes |= u32::from(symbol == ESCAPE) << token;
        let mut offset = symbol << window.raw_bits;
        for (bit, plane) in planes.chunks(plane_bytes).enumerate() {
            offset |= (plane[token / 8] >> (token % 8) & 1) << bit;
        }
        *place = offset.wrapping_add(window.base);
    }
    escapes
}

/// Bytes of a plane of bits of a whole row.
const ROW_PLANE_BYTES: usize = 4;

/// Bits of a fraction: those of the refinements from the top, then a one that puts it in the middle.
pub(crate) const FRACTION_BITS: u32 = 8;

/// Adds the planes of bit `bit`, from the top, of the rows of a channel's fractions.
pub(crate) fn take_fractions(isa: Isa, bit: u32, rows: &TileRows, channel: usize, planes: &mut Vec<u8>) {
    let num_whole = rows.num_tokens() / LANES;
    let squares = &rows.block(channel / BLOCK_CHANNELS)[..num_whole];
    let taken = match isa.kind() {
        Kind::Scalar => 0,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => {
            super::avx2::take_fractions(bit, squares, channel % BLOCK_CHANNELS, planes);
            num_whole
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => {
            super::avx512::take_fractions(bit, squares, channel % BLOCK_CHANNELS, planes);
            num_whole
        }
    };
    for row in rows.channel(channel).skip(taken) {
        let ones = (0..).zip(row).map(|(token, &fraction)| u32::from(fraction << bit >> 7) << token);
        planes.extend_from_slice(&ones.sum::<u32>().to_le_bytes()[..row.len().div_ceil(8)]);
    }
}

/// Fills the fractions of a channel from the planes of its first bits, and the one behind them.
///
/// `planes`: each the bits of all rows.
pub(crate) fn put_fractions(isa: Isa, planes: &[&[u8]], rows: &mut TileRows, channel: usize) {
    let middle = 1u8 << (FRACTION_BITS - 1) >> planes.len();
    let SplitRows { whole, short } = rows.split_block_mut(channel / BLOCK_CHANNELS);
    let channel = channel % BLOCK_CHANNELS;
    let num_whole = whole.len();
    match isa.kind() {
        Kind::Scalar => {
            for (row, square) in whole.iter_mut().enumerate() {
                put_row_fractions(planes, row, middle, &mut square[channel]);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => super::avx2::put_fractions(planes, middle, whole, channel),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => super::avx512::put_fractions(planes, middle, whole, channel),
    }
    if let Some((square, num_tokens)) = short {
        put_row_fractions(planes, num_whole, middle, &mut square[channel][..num_tokens]);
    }
}

fn put_row_fractions(planes: &[&[u8]], row: usize, middle: u8, fractions: &mut [u8]) {
    for (token, fraction) in fractions.iter_mut().enumerate() {
        let bit = |plane: &&[u8]| plane[row * ROW_PLANE_BYTES + token / 8] >> (token % 8) & 1;
        *fraction = planes.iter().zip((0..8).rev()).fold(middle, |sum, (plane, at)| sum | bit(plane) << at);
    }
}
