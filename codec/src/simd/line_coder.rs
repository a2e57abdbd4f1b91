//! Lines of a head to values and fractions, with the error that each quality layer leaves, in one pass over a token.

use super::Isa;
use super::isa::Kind;
use super::lines::{self, Scales, Turn, on_every_isa};
use super::quantize::{HeadErrors, PARTIAL_SUMS};
use super::values::FRACTION_BITS;
use crate::element::Element;
use crate::rows::{BLOCK_CHANNELS, Square};

/// How the elements of each channel are quantized.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    /// The inverse of the finest step; 0 where nothing is coded.
    pub(crate) inverses: Vec<f32>,
    /// Added last: the centre, moved so that rounding to the nearest cuts where it should.
    pub(crate) offsets: Vec<f32>,
    /// Low bits of the index that are not of the value but of the fraction.
    pub(crate) fraction_bits: Vec<u32>,
}

/// Largest magnitude of an index: what escapes can say, at two bits of fraction.
const MAX_INDEX: f32 = 131_068.0;
/// Largest magnitude of a value that a row can say; no window reaches that far.
const MAX_VALUE: i32 = 127;
/// Added to an `f32` below 2^22 in magnitude, this leaves the nearest integer in the low bits, ties to even.
const ROUNDER: f32 = 12_582_912.0;

#[inline(always)]
fn index_of(x: f32, inverse: f32, offset: f32) -> i32 {
    let scaled = (x * inverse + offset).clamp(-MAX_INDEX, MAX_INDEX);
    (scaled + ROUNDER).to_bits().cast_signed().wrapping_sub(ROUNDER.to_bits().cast_signed())
}

impl Grid {
    /// The value of a channel's number, however large.
    pub(crate) fn value(&self, channel: usize, x: f32) -> i32 {
        index_of(x, self.inverses[channel], self.offsets[channel]) >> self.fraction_bits[channel]
    }
}

/// What is known of the numbers of each channel to one who has only some quality layers.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) scales: Scales,
    /// The bits of a word, value above fraction, that are known.
    pub(crate) known: Vec<u32>,
    /// What stands for the others: a one that puts it in the middle.
    pub(crate) middles: Vec<u32>,
}

impl Knowledge {
    /// Adds a channel of which `fraction_bits` are known below the value.
    pub(crate) fn push(&mut self, [step, offset]: [f32; 2], fraction_bits: u32) {
        self.scales.steps.push(step);
        self.scales.offsets.push(offset);
        self.known.push(u32::MAX << (FRACTION_BITS - fraction_bits));
        self.middles.push(1 << (FRACTION_BITS - 1) >> fraction_bits);
    }
}

/// Codes the lines of a head.
#[derive(Debug)]
pub(crate) struct LineCoder {
    grid: Grid,
    /// Of each quality layer.
    knowledge: Vec<Knowledge>,
    /// Of each channel, what a whole index is worth in a word.
    units: Vec<i32>,
    /// Of each channel, the one below the bits of an index in a word.
    middles: Vec<u32>,
    words: Vec<i32>,
    exact: Vec<f32>,
    decoded: Vec<f32>,
}

/// A line to code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) token: usize,
    /// The line of the squares that it goes to.
    pub(crate) lane: usize,
    /// What it is in the plane.
    pub(crate) elements: &'a [u8],
    /// The turn of the key, for keys.
    pub(crate) turn: Option<Turn<'a>>,
    /// Its numbers, turned back.
    pub(crate) numbers: &'a [f32],
}

impl LineCoder {
    pub(crate) fn new(grid: Grid, knowledge: Vec<Knowledge>) -> Self {
        let head_dim = grid.inverses.len();
        let bits = grid.fraction_bits.iter();
        Self {
            units: bits.clone().map(|bits| 1 << (FRACTION_BITS - bits)).collect(),
            middles: bits.map(|bits| 1 << (FRACTION_BITS - 1) >> bits).collect(),
            grid,
            knowledge,
            words: vec![0; head_dim],
            exact: vec![0.0; head_dim],
            decoded: vec![0.0; head_dim],
        }
    }

    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }
}

on_every_isa!(
    /// Fills a line of the squares of values and fractions of each block, and takes the errors of each quality layer in. Values
    /// beyond what a row can say are the nearest that it can.
    code_line<E>, code_line_plain,
    (coder: &mut LineCoder, line: Line<'_>, squares: &mut [[Square; 2]], errors: &mut [HeadErrors])
);

#[inline(always)]
fn code_line_plain<E: Element>(
    coder: &mut LineCoder,
    line: Line<'_>,
    squares: &mut [[Square; 2]],
    errors: &mut [HeadErrors],
) {
    let LineCoder { grid, knowledge, units, middles, words, exact, decoded } = coder;
    find_words(grid, units, line.numbers, words);
    let blocks = words.chunks(BLOCK_CHANNELS).zip(middles.chunks(BLOCK_CHANNELS));
    for ((words, middles), [values, fractions]) in blocks.zip(squares) {
        split_words(words, middles, &mut values[line.lane], &mut fractions[line.lane]);
    }
    let exact = match line.turn {
        None => line.numbers,
        Some(_) => {
            lines::widen_plain::<E>(line.elements, exact);
            exact
        }
    };
    for (knowledge, errors) in knowledge.iter().zip(errors) {
        restore_known(knowledge, words, decoded);
        if let Some([cos, sin]) = line.turn {
            lines::rotate_plain(decoded, cos, sin);
        }
        lines::round_plain::<E>(decoded);
        measure(exact, decoded, &mut errors.squares[line.token], &mut errors.largest);
    }
}

/// Indices, so far up that the whole ones are values.
#[inline(always)]
fn find_words(grid: &Grid, units: &[i32], numbers: &[f32], words: &mut [i32]) {
    let count = words.len();
    let (numbers, units) = (&numbers[..count], &units[..count]);
    let (inverses, offsets) = (&grid.inverses[..count], &grid.offsets[..count]);
    for i in 0..count {
        words[i] = index_of(numbers[i], inverses[i], offsets[i]).wrapping_mul(units[i]);
    }
}

#[inline(always)]
fn split_words(words: &[i32], middles: &[u32], values: &mut [u8], fractions: &mut [u8]) {
    let places = values.iter_mut().zip(fractions);
    for ((word, middle), (value, fraction)) in words.iter().zip(middles).zip(places) {
        *value = (word >> FRACTION_BITS).clamp(-MAX_VALUE, MAX_VALUE) as u8;
        *fraction = (word.cast_unsigned() | middle) as u8;
    }
}

/// What a line comes back as to one who knows only the first bits of each channel's fraction.
#[inline(always)]
fn restore_known(knowledge: &Knowledge, words: &[i32], decoded: &mut [f32]) {
    let count = decoded.len();
    let words = &words[..count];
    let (known, middles) = (&knowledge.known[..count], &knowledge.middles[..count]);
    let (steps, offsets) = (&knowledge.scales.steps[..count], &knowledge.scales.offsets[..count]);
    for i in 0..count {
        let word = (words[i].cast_unsigned() & known[i] | middles[i]).cast_signed();
        decoded[i] = word as f32 * steps[i] + offsets[i];
    }
}

/// Takes the errors of a line in.
#[inline(always)]
fn measure(exact: &[f32], decoded: &[f32], squares: &mut [f32; PARTIAL_SUMS], largest: &mut [f32; PARTIAL_SUMS]) {
    let (whole, rest) = exact.as_chunks::<PARTIAL_SUMS>();
    let (whole_decoded, rest_decoded) = decoded.as_chunks::<PARTIAL_SUMS>();
    let (mut sums, mut most) = (*squares, *largest);
    for (exact, decoded) in whole.iter().zip(whole_decoded) {
        let errors: [f32; PARTIAL_SUMS] = std::array::from_fn(|partial| decoded[partial] - exact[partial]);
        sums = std::array::from_fn(|partial| sums[partial] + errors[partial] * errors[partial]);
        most = std::array::from_fn(|partial| {
            let magnitude = errors[partial].abs();
            if magnitude > most[partial] { magnitude } else { most[partial] }
        });
    }
    for (partial, (exact, decoded)) in rest.iter().zip(rest_decoded).enumerate() {
        let error = decoded - exact;
        sums[partial] += error * error;
        most[partial] = most[partial].max(error.abs());
    }
    (*squares, *largest) = (sums, most);
}
