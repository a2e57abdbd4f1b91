//! From values and fractions to elements, a row of tokens at a time.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::decode::{FarValue, Head};
use super::steps::{Steps, scales};
use crate::element::Element;
use crate::plane::PlaneShape;
use crate::rope::Turns;
use crate::rows::{BLOCK_CHANNELS, Square, TileRows};
use crate::simd::{self, CodedLine, FarNumber, Isa, Scales};
use crate::tile::rans::LANES;

/// Room for a row of tokens of one head, on its way to the plane.
pub(super) struct Restorer {
    shape: PlaneShape,
    scales: Scales,
    line: Vec<f32>,
    elements: Vec<u8>,
    /// Values and fractions of each block, line by line.
    squares: Vec<[Square; 2]>,
    far: Vec<FarNumber>,
}

impl Restorer {
    /// Room for heads of this shape.
    pub(super) fn new(shape: &PlaneShape) -> Self {
        Self {
            shape: *shape,
            scales: Scales::default(),
            line: vec![0.0; shape.head_dim],
            elements: vec![0; shape.head_bytes().saturating_mul(LANES)],
            squares: vec![[[[0; LANES]; BLOCK_CHANNELS]; 2]; shape.num_blocks()],
            far: Vec::new(),
        }
    }

    /// Writes the elements of a head.
    pub(super) fn write<E: Element>(
        &mut self,
        isa: Isa,
        head: &Head<'_>,
        steps: &Steps<'_>,
        turns: Option<&Turns>,
        rows: [&TileRows; 2],
        plane: &mut [u8],
    ) {
        self.set_scales(head, steps);
        let head_bytes = self.shape.head_bytes();
        for (row, first_token) in (0..self.shape.num_tokens).step_by(LANES).enumerate() {
            self.turn_row(isa, row, rows);
            let num_tokens = LANES.min(self.shape.num_tokens.saturating_sub(first_token));
            let mut elements = std::mem::take(&mut self.elements);
            for (lane, elements) in elements.chunks_exact_mut(head_bytes).enumerate().take(num_tokens) {
                let token = first_token.saturating_add(lane);
                self.find_far(head, token, lane);
                let turn = turns.map(|turns| turns.token(token));
                let line = CodedLine { squares: &self.squares, lane, far: &self.far, turn };
                simd::restore::<E>(isa, &self.scales, line, &mut self.line, elements);
            }
            let written = elements.get(..num_tokens.saturating_mul(head_bytes)).unwrap_or_default();
            simd::put_lines(isa, written, &self.shape, head.head, first_token, plane);
            self.elements = elements;
        }
    }

    fn set_scales(&mut self, head: &Head<'_>, steps: &Steps<'_>) {
        let Scales { steps: fine_steps, offsets } = &mut self.scales;
        fine_steps.clear();
        offsets.clear();
        for channel in &head.channels {
            let entered = channel.entered.map(|entered| entered.quality);
            let exponent = channel.entered.map_or(0, |entered| entered.exponent);
            let [step, offset] = scales(steps.step, exponent, entered, steps.mean_step, channel.mean);
            fine_steps.push(step);
            offsets.push(offset);
        }
    }

    /// Turns the values and fractions of a row of tokens to lines.
    fn turn_row(&mut self, isa: Isa, row: usize, rows: [&TileRows; 2]) {
        for (block, turned) in self.squares.iter_mut().enumerate() {
            for (rows, turned) in rows.iter().zip(turned) {
                if let Some(square) = rows.block(block).get(row) {
                    simd::turn_into(isa, square, turned);
                }
            }
        }
    }

    /// Finds the numbers of a token whose values rows cannot say; its fractions are in line `lane` of the squares.
    fn find_far(&mut self, head: &Head<'_>, token: usize, lane: usize) {
        self.far.clear();
        for &FarValue { channel, value, .. } in head.far.iter().filter(|far| far.token == token) {
            let block = self.squares.get(channel / BLOCK_CHANNELS);
            let fraction = block
                .and_then(|[_, fractions]| fractions.get(lane)?.get(channel % BLOCK_CHANNELS).copied())
                .unwrap_or_default();
            if let Some((step, offset)) = self.scales.steps.get(channel).zip(self.scales.offsets.get(channel)) {
                let word = i32::from(value) << 8 | i32::from(fraction);
                self.far.push(FarNumber { channel, number: word as f32 * step + offset });
            }
        }
    }
}
