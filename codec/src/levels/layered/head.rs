//! One head, from numbers to values and fractions.

use super::encode::PlaneSteps;
use super::spread::{Spread, channel_step};
use super::steps::scales;
use crate::element::Element;
use crate::levels::Scratch;
use crate::plane::Plane;
use crate::rope::Turns;
use crate::rows::{BLOCK_CHANNELS, row_tokens};
use crate::simd::{self, Grid, Isa, Knowledge, Line, LineCoder};
use crate::tile::rans::LANES;

/// A channel, before its class is known.
#[derive(Clone, Copy)]
pub(super) struct Channel {
    /// The quality layer that has its values; none if no layer has.
    pub(super) enters: Option<usize>,
    pub(super) exponent: i8,
    pub(super) mean: i8,
}

/// A head to code.
#[derive(Clone, Copy)]
pub(super) struct HeadLines<'a> {
    pub(super) plane: &'a Plane<'a>,
    pub(super) head: usize,
    /// The turns of keys, for keys.
    pub(super) turns: Option<&'a Turns>,
    /// Its numbers, turned back, `[token][head_dim]`.
    pub(super) numbers: &'a [f32],
}

/// Codes one head.
pub(super) struct HeadCoder {
    pub(super) channels: Vec<Channel>,
    lines: LineCoder,
}

impl HeadCoder {
    /// For a head of this spread, whose channels have steps of these exponents.
    pub(super) fn new(steps: &PlaneSteps, spread: &Spread, exponents: &[i8]) -> Self {
        let channel = |((mean, deviation), &exponent): ((&f32, &f32), &i8)| Channel {
            enters: steps.recipe.enters(*deviation / channel_step(steps.step, exponent), *mean, steps.qualities),
            exponent,
            mean: (mean / steps.mean_step).round_ties_even().clamp(-127.0, 127.0) as i8,
        };
        let channels: Vec<Channel> = spread.means.iter().zip(&spread.deviations).zip(exponents).map(channel).collect();
        let grid = grid(steps, &channels);
        let knowledge = (0..steps.qualities).map(|quality| knowledge(steps, &channels, &grid, quality)).collect();
        Self { channels, lines: LineCoder::new(grid, knowledge) }
    }

    /// Fills values and fractions, and takes in the errors of each quality layer with those below it. Exact tokens are as
    /// their means, and without errors.
    pub(super) fn code_lines<E: Element>(
        &mut self,
        isa: Isa,
        lines: HeadLines<'_>,
        exact_tokens: usize,
        scratch: &mut Scratch,
    ) {
        let Scratch { values, fractions, errors, .. } = scratch;
        let head_dim = self.channels.len();
        let mut squares = vec![[[[0; LANES]; BLOCK_CHANNELS]; 2]; head_dim.div_ceil(BLOCK_CHANNELS)];
        for row in 0..values.rows_per_channel() {
            let first_token = row * LANES;
            for (lane, token) in (first_token..).enumerate().take(row_tokens(values.num_tokens(), row)) {
                if token < exact_tokens {
                    squares.as_flattened_mut().iter_mut().for_each(|square| square[lane].fill(0));
                    continue;
                }
                let line = Line {
                    token,
                    lane,
                    elements: lines.plane.head_line(token, lines.head),
                    turn: lines.turns.map(|turns| turns.token(token)),
                    numbers: &lines.numbers[token * head_dim..][..head_dim],
                };
                simd::code_line::<E>(isa, &mut self.lines, line, &mut squares, errors);
            }
            for (block, [value_lines, fraction_lines]) in squares.iter().enumerate() {
                simd::turn_into(isa, value_lines, &mut values.block_mut(block)[row]);
                simd::turn_into(isa, fraction_lines, &mut fractions.block_mut(block)[row]);
            }
        }
    }

    /// The value of a channel's number, however large.
    pub(super) fn value(&self, channel: usize, number: f32) -> i32 {
        self.lines.grid().value(channel, number)
    }
}

/// The grid of the finest steps.
fn grid(steps: &PlaneSteps, channels: &[Channel]) -> Grid {
    let mut grid = Grid::default();
    for channel in channels {
        let bits = channel.enters.map_or(0, |enters| steps.qualities - 1 - enters);
        let finest = channel_step(steps.step, channel.exponent) / (1u32 << (steps.qualities - 1)) as f32;
        let inverse = if channel.enters.is_some() { 1.0 / finest } else { 0.0 };
        // Half of a value's range below it, and half a step for rounding down by rounding to the nearest.
        let centre = f32::from(channel.mean) * steps.mean_step;
        let shift = (1u32 << bits) as f32 / 2.0 - 0.5;
        grid.inverses.push(inverse);
        grid.offsets.push(shift - centre * inverse);
        grid.fraction_bits.push(bits as u32);
    }
    grid
}

/// What is known with the quality layers up to one.
fn knowledge(steps: &PlaneSteps, channels: &[Channel], grid: &Grid, quality: usize) -> Knowledge {
    let mut knowledge = Knowledge::default();
    for (channel, &bits) in channels.iter().zip(&grid.fraction_bits) {
        let entered = channel.enters.filter(|&enters| enters <= quality);
        let scales = scales(steps.step, channel.exponent, entered, steps.mean_step, channel.mean);
        knowledge.push(scales, entered.map_or(0, |enters| (quality - enters) as u32).min(bits));
    }
    knowledge
}
