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
use crate::simd::{self, Isa, Scales};
use crate::tile::rans::LANES;

/// Room for a row of tokens of one head, on its way to the plane.
pub(super) struct Restorer {
    shape: PlaneShape,
    scales: Scales,
    /// `[token][head_dim]`
    lines: Vec<f32>,
    elements: Vec<u8>,
    squares: [Square; 2],
}

impl Restorer {
    /// Room for heads of this shape.
    pub(super) fn new(shape: &PlaneShape) -> Self {
        Self {
            shape: *shape,
            scales: Scales::default(),
            lines: vec![0.0; shape.head_dim.saturating_mul(LANES)],
            elements: vec![0; shape.head_bytes().saturating_mul(LANES)],
            squares: [[[0; LANES]; BLOCK_CHANNELS]; 2],
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
        let (head_dim, head_bytes) = (self.shape.head_dim, self.shape.head_bytes());
        for first_token in (0..self.shape.num_tokens).step_by(LANES) {
            let row = first_token.checked_div(LANES).unwrap_or_default();
            self.restore_row(isa, row, rows);
            head.far.iter().for_each(|far| self.restore_far(row, far, rows));
            let num_tokens = LANES.min(self.shape.num_tokens.saturating_sub(first_token));
            let lines = self.lines.chunks_exact_mut(head_dim).zip(self.elements.chunks_exact_mut(head_bytes));
            for (token, (line, elements)) in (first_token..).zip(lines).take(num_tokens) {
                if let Some(turns) = turns {
                    let [cos, sin] = turns.token(token);
                    simd::rotate(isa, line, cos, sin);
                }
                simd::narrow::<E>(isa, line, elements);
            }
            let elements = self.elements.get(..num_tokens.saturating_mul(head_bytes)).unwrap_or_default();
            simd::put_lines(isa, elements, &self.shape, head.head, first_token, plane);
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

    /// The numbers of a row of tokens.
    fn restore_row(&mut self, isa: Isa, row: usize, rows: [&TileRows; 2]) {
        let head_dim = self.shape.head_dim;
        for (block, first) in (0..head_dim).step_by(BLOCK_CHANNELS).enumerate() {
            let channels = first..first.saturating_add(BLOCK_CHANNELS).min(head_dim);
            for (rows, turned) in rows.iter().zip(&mut self.squares) {
                if let Some(square) = rows.block(block).get(row) {
                    simd::turn_into(isa, square, turned);
                }
            }
            let [values, fractions] = &self.squares;
            let scales = [&self.scales.steps, &self.scales.offsets];
            let [steps, offsets] = scales.map(|scales| scales.get(channels.clone()).unwrap_or_default());
            for ((line, values), fractions) in self.lines.chunks_exact_mut(head_dim).zip(values).zip(fractions) {
                let line = line.get_mut(channels.clone()).unwrap_or_default();
                simd::restore(isa, steps, offsets, values, fractions, line);
            }
        }
    }

    /// Corrects a value that rows cannot say, if it is in this row.
    fn restore_far(&mut self, row: usize, far: &FarValue, [_, fractions]: [&TileRows; 2]) {
        let FarValue { token, channel, value } = *far;
        let Some(lane) = token.checked_sub(row.saturating_mul(LANES)).filter(|lane| *lane < LANES) else { return };
        let fraction = fractions.channel(channel).nth(row).and_then(|row| row.get(lane).copied());
        let scale = self.scales.steps.get(channel).zip(self.scales.offsets.get(channel));
        let place = self.lines.get_mut(lane.saturating_mul(self.shape.head_dim).saturating_add(channel));
        if let (Some(place), Some(fraction), Some((step, offset))) = (place, fraction, scale) {
            let word = i32::from(value) << 8 | i32::from(fraction);
            *place = word as f32 * step + offset;
        }
    }
}
