//! Lines of a head to values and fractions, with the error that each quality layer leaves, in one pass over a token.

use super::Isa;
use super::isa::Kind;
use super::lines::{self, Scales, Turn};
use super::quantize::{HeadErrors, PARTIAL_SUMS};
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
    /// Bits of the index's fraction that are known.
    pub(crate) known_bits: Vec<u32>,
    /// Bits of it that are not.
    pub(crate) unknown_bits: Vec<u32>,
}

/// Codes the lines of a head.
#[derive(Debug)]
pub(crate) struct LineCoder {
    grid: Grid,
    /// Of each quality layer.
    knowledge: Vec<Knowledge>,
    indices: Vec<i32>,
    exact: Vec<f32>,
    decoded: Vec<f32>,
}

/// A line to code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
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
        Self { grid, knowledge, indices: vec![0; head_dim], exact: vec![0.0; head_dim], decoded: vec![0.0; head_dim] }
    }

    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Fills line `lane` of the squares of values and fractions of each block, and takes the errors of each quality layer
    /// in as those of a token. Values beyond what a row can say are the nearest that it can.
    pub(crate) fn code<E: Element>(
        &mut self,
        isa: Isa,
        line: Line<'_>,
        lane: usize,
        squares: &mut [[Square; 2]],
        token: usize,
        errors: &mut [HeadErrors],
    ) {
        match isa.kind() {
            Kind::Scalar => self.code_plain::<E>(line, lane, squares, token, errors),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` is the proof that the processor has AVX2.
            Kind::Avx2 => unsafe { self.code_avx2::<E>(line, lane, squares, token, errors) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn code_avx2<E: Element>(
        &mut self,
        line: Line<'_>,
        lane: usize,
        squares: &mut [[Square; 2]],
        token: usize,
        errors: &mut [HeadErrors],
    ) {
        self.code_plain::<E>(line, lane, squares, token, errors);
    }

    #[inline(always)]
    fn code_plain<E: Element>(
        &mut self,
        line: Line<'_>,
        lane: usize,
        squares: &mut [[Square; 2]],
        token: usize,
        errors: &mut [HeadErrors],
    ) {
        let Self { grid, knowledge, indices, exact, decoded } = self;
        find_indices(grid, line.numbers, indices);
        let blocks = indices.chunks(BLOCK_CHANNELS).zip(grid.fraction_bits.chunks(BLOCK_CHANNELS));
        for ((indices, fraction_bits), [values, fractions]) in blocks.zip(squares) {
            split_indices(indices, fraction_bits, &mut values[lane], &mut fractions[lane]);
        }
        lines::widen_plain::<E>(line.elements, exact);
        for (knowledge, errors) in knowledge.iter().zip(errors) {
            restore_known(knowledge, indices, decoded);
            if let Some([cos, sin]) = line.turn {
                lines::rotate_plain(decoded, cos, sin);
            }
            lines::round_plain::<E>(decoded);
            measure(exact, decoded, &mut errors.squares[token], &mut errors.largest);
        }
    }
}

#[inline(always)]
fn find_indices(grid: &Grid, numbers: &[f32], indices: &mut [i32]) {
    let count = indices.len();
    let (numbers, inverses, offsets) = (&numbers[..count], &grid.inverses[..count], &grid.offsets[..count]);
    for i in 0..count {
        indices[i] = index_of(numbers[i], inverses[i], offsets[i]);
    }
}

#[inline(always)]
fn split_indices(indices: &[i32], fraction_bits: &[u32], values: &mut [u8], fractions: &mut [u8]) {
    let places = values.iter_mut().zip(fractions);
    for ((index, bits), (value, fraction)) in indices.iter().zip(fraction_bits).zip(places) {
        *value = index.wrapping_shr(*bits).clamp(-MAX_VALUE, MAX_VALUE) as u8;
        *fraction = (index << 8 | 128).wrapping_shr(*bits) as u8;
    }
}

/// What a line comes back as to one who knows only the first bits of each channel's fraction.
#[inline(always)]
fn restore_known(knowledge: &Knowledge, indices: &[i32], decoded: &mut [f32]) {
    let count = decoded.len();
    let indices = &indices[..count];
    let (known, unknown) = (&knowledge.known_bits[..count], &knowledge.unknown_bits[..count]);
    let (steps, offsets) = (&knowledge.scales.steps[..count], &knowledge.scales.offsets[..count]);
    for i in 0..count {
        let index = indices[i].wrapping_shr(unknown[i]);
        // The known bits of the fraction from the top, then a one that puts it in the middle.
        let word = (index << 8 | 128).wrapping_shr(known[i]);
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
        for partial in 0..PARTIAL_SUMS {
            let error = decoded[partial] - exact[partial];
            sums[partial] += error * error;
            most[partial] = if error.abs() > most[partial] { error.abs() } else { most[partial] };
        }
    }
    for (partial, (exact, decoded)) in rest.iter().zip(rest_decoded).enumerate() {
        let error = decoded - exact;
        sums[partial] += error * error;
        most[partial] = most[partial].max(error.abs());
    }
    (*squares, *largest) = (sums, most);
}
