//! Elements to values, with the error that this makes.

use super::Isa;
use super::dequantize::{TokenTable, element_of};
use super::isa::Kind;
use crate::element::Element;
use crate::plane::{BlockView, Plane};
use crate::rows::{BLOCK_CHANNELS, Square, TileRows, row_tokens};
use crate::tile::rans::LANES;

/// Sums of squares that each head of a token is measured by.
pub(crate) const PARTIAL_SUMS: usize = 8;

/// The partial sum that channel `d` of a head belongs to.
pub(crate) const fn partial_of(d: usize) -> usize {
    d % 4 + d / 8 % 2 * 4
}

/// The quantizer of a plane: `value = round(element * factor + center) - center`, ties to even.
#[derive(Debug)]
pub(crate) struct Quantizer {
    pub(crate) center: u8,
    /// Of each token. Where the factor is not finite, all values are `-center`.
    pub(crate) factors: Vec<f32>,
    /// What the values of each token decode to.
    pub(crate) tables: Vec<TokenTable>,
}

/// The error of one head, in `f32`.
#[derive(Debug, PartialEq, Default)]
pub(crate) struct HeadErrors {
    /// Sums of squares of each token: see [`partial_of`].
    pub(crate) squares: Vec<[f32; PARTIAL_SUMS]>,
    /// Largest magnitude of the errors in each partial sum.
    pub(crate) largest: [f32; PARTIAL_SUMS],
}

impl HeadErrors {
    /// Whether all errors are numbers, and none is larger than `bound`: an error that was rounded to it may be.
    pub(crate) fn are_within(&self, bound: f64) -> bool {
        let no_number = self.squares.as_flattened().iter().any(|square| square.is_nan());
        !no_number && self.largest.iter().all(|&largest| f64::from(largest) < bound || largest == 0.0)
    }

    /// Forgets all errors, and has room for those of this many tokens.
    pub(crate) fn clear(&mut self, num_tokens: usize) {
        self.squares.clear();
        self.squares.resize(num_tokens, [0.0; PARTIAL_SUMS]);
        self.largest = [0.0; PARTIAL_SUMS];
    }

    /// Takes in the error of channel `d` of a token.
    pub(crate) fn add(&mut self, token: usize, d: usize, error: f32) {
        let partial = partial_of(d);
        self.squares[token][partial] += error * error;
        self.largest[partial] = self.largest[partial].max(error.abs());
    }
}

/// Fills `rows` with the values of a head, and takes in the errors that this makes.
pub(crate) fn quantize<E: Element>(
    isa: Isa,
    quantizer: &Quantizer,
    plane: &Plane<'_>,
    head: usize,
    rows: &mut TileRows,
    errors: &mut HeadErrors,
) {
    let wide = match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 if E::IS_BF16 => {
            super::avx2::quantize(quantizer, plane, head, rows, errors);
            true
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 if E::IS_BF16 => {
            super::avx512::quantize(quantizer, plane, head, rows, errors);
            true
        }
        _ => false,
    };
    for block in 0..plane.shape.num_blocks() {
        let view = plane.block(head, block);
        for (row, square) in rows.block_mut(block).iter_mut().enumerate() {
            if !wide || plane.shape.square_start(row * LANES, head, block).is_none() {
                quantize_square::<E>(quantizer, &view, row, square, errors);
            }
        }
    }
}

fn quantize_square<E: Element>(
    quantizer: &Quantizer,
    block: &BlockView<'_>,
    row: usize,
    square: &mut Square,
    errors: &mut HeadErrors,
) {
    let num_tokens = row_tokens(quantizer.factors.len(), row);
    for (token, lane) in (row * LANES..).zip(0..num_tokens) {
        let mut values = [0; BLOCK_CHANNELS];
        quantize_line::<E>(quantizer, token, block.line(token), errors, &mut values);
        square.iter_mut().zip(values).for_each(|(row, value)| row[lane] = value);
    }
}

fn quantize_line<E: Element>(
    quantizer: &Quantizer,
    token: usize,
    line: &[u8],
    errors: &mut HeadErrors,
    values: &mut [u8; 32],
) {
    let (factor, center) = (quantizer.factors[token], f32::from(quantizer.center));
    for ((channel, element), value) in line.chunks_exact(E::BYTES).enumerate().zip(values) {
        let exact = E::to_f32(E::load(element));
        let scaled = exact * factor + center;
        let symbol = if scaled.is_finite() { scaled.round_ties_even() } else { 0.0 };
        let quantized = (symbol - center) as i8;
        *value = quantized.cast_unsigned();
        let decoded = E::to_f32(element_of::<E>(&quantizer.tables[token], quantized));
        errors.add(token, channel, decoded - exact);
    }
}
