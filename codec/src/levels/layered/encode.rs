//! From elements to a preamble and tiles, for all quality layers at once.

use super::coding::{CODE_CLASSES, ChannelCode};
use super::recipe::Recipe;
use super::spread::{Spread, channel_step, lines_of_head};
use super::steps::scales;
use crate::element::Element;
use crate::levels::values;
use crate::levels::{EncodedPlanes, Mark, Surroundings, not_finite};
use crate::model::Model;
use crate::plane::{Plane, PlaneShape};
use crate::rope::Turns;
use crate::rows::{BLOCK_CHANNELS, TileRows, row_tokens};
use crate::simd::{self, Grid, HeadErrors, Isa, Knowledge, TILES};
use crate::tile::rans::{Encoder, LANES};
use crate::tile::{self, CodedTile};
use crate::{Result, Side};

/// Means are multiples of a quarter of the base's step, or of more where the largest needs it.
const MEAN_STEP: f32 = 0.25;
/// No step is less than this part of the largest mean: indices of finer ones would be beyond the precision of f32.
const LEAST_STEP: f32 = 1.0 / 4096.0;

/// Adds a plane to the segments of its quality layers, `out`.
///
/// # Errors
/// `Invalid` at the first element that is not finite.
pub(in crate::levels) fn encode_plane<E: Element>(
    isa: Isa,
    plane: &Plane<'_>,
    recipe: Recipe,
    around: &Surroundings,
    out: &mut [EncodedPlanes],
) -> Result<()> {
    check_finite::<E>(isa, plane)?;
    let marks: Vec<Mark> = out.iter().map(EncodedPlanes::mark).collect();
    let exact_tokens = around.exact_tokens.min(plane.shape.num_tokens);
    if !code_plane::<E>(isa, plane, recipe, around, exact_tokens, out) {
        out.iter_mut().zip(&marks).for_each(|(out, mark)| out.go_back(mark));
        code_plane::<E>(isa, plane, recipe, around, plane.shape.num_tokens, out);
    }
    Ok(())
}

/// Adds a plane whose first tokens are exact; gives whether the errors of the others are as the recipe wants them.
///
/// They are not where numbers are beyond the range or the precision of f32: elements near the ends of it, means that are
/// large against all deviations, f16 that rounds to infinity.
fn code_plane<E: Element>(
    isa: Isa,
    plane: &Plane<'_>,
    recipe: Recipe,
    around: &Surroundings,
    exact_tokens: usize,
    out: &mut [EncodedPlanes],
) -> bool {
    let shape = plane.shape;
    let turns = match plane.side {
        Side::K => around.turns.as_deref(),
        Side::V => None,
    };
    let mut rooms: Vec<Room> = (0..TILES.min(shape.num_kv_heads)).map(|_| Room::new(&shape)).collect();
    let lines = &mut rooms[0].lines;
    let spreads: Vec<Spread> = (0..shape.num_kv_heads)
        .map(|head| {
            lines_of_head::<E>(isa, plane, head, turns, exact_tokens..shape.num_tokens, lines);
            Spread::of_lines(isa, lines, shape.head_dim)
        })
        .collect();
    let steps = PlaneSteps::new(recipe, plane.side, around.key_spread, &spreads, out.len());
    steps.write_preamble(plane, exact_tokens, &mut out[0].preamble);
    let limit = recipe.error_limit(plane.side, steps.step);
    let mut within = true;
    let heads: Vec<usize> = (0..shape.num_kv_heads).collect();
    let mut exponents = steps.exponents.chunks(shape.head_dim);
    for heads in heads.chunks(TILES) {
        let mut coded: Vec<HeadCoder<'_>> = heads
            .iter()
            .zip(&mut rooms)
            .map(|(&head, room)| {
                let exponents = exponents.next().unwrap_or_default();
                lines_of_head::<E>(isa, plane, head, turns, 0..shape.num_tokens, &mut room.lines);
                HeadCoder::new(isa, &steps, &spreads[head], exponents, room, exact_tokens)
            })
            .collect();
        for (&head, coder) in heads.iter().zip(&coded) {
            let errors = coder.measure::<E>(isa, plane, head, turns, exact_tokens, out.len());
            within &= errors.iter().all(|errors| errors.are_within(limit));
            out.iter_mut().zip(&errors).for_each(|(out, errors)| out.errors.add_head(errors, shape.head_dim));
        }
        within &= push_tiles(isa, &mut coded, out);
    }
    within
}

fn check_finite<E: Element>(isa: Isa, plane: &Plane<'_>) -> Result<()> {
    for (token, elements) in plane.bytes.chunks_exact(plane.shape.token_bytes()).enumerate() {
        if !simd::largest_magnitude::<E>(isa, elements).is_finite() {
            let values = elements.chunks_exact(E::BYTES).map(|element| E::to_f32(E::load(element)));
            let channel = values.into_iter().position(|value| !value.is_finite()).unwrap_or_default();
            return Err(not_finite(plane, token, channel));
        }
    }
    Ok(())
}

/// The steps of a plane.
struct PlaneSteps {
    recipe: Recipe,
    qualities: usize,
    /// Of the base.
    step: f32,
    mean_step: f32,
    /// Of all channels.
    exponents: Vec<i8>,
}

impl PlaneSteps {
    fn new(recipe: Recipe, side: Side, key_spread: f32, spreads: &[Spread], qualities: usize) -> Self {
        let (finest, exponents) = recipe.steps(side, key_spread, spreads);
        let means = spreads.iter().flat_map(|spread| &spread.means);
        let largest_mean = means.fold(0.0, |largest: f32, mean| largest.max(mean.abs()));
        let base = finest * (1u32 << (qualities - 1)) as f32;
        let step = base.max(largest_mean * LEAST_STEP).max(f32::MIN_POSITIVE);
        let mean_step = (MEAN_STEP * step).max(largest_mean / 127.0).min(f32::MAX / 256.0);
        Self { recipe, qualities, step: step.min(f32::MAX / 1024.0), mean_step, exponents }
    }

    fn write_preamble(&self, plane: &Plane<'_>, exact_tokens: usize, preamble: &mut Vec<u8>) {
        preamble.extend_from_slice(&self.step.to_le_bytes());
        preamble.extend_from_slice(&self.mean_step.to_le_bytes());
        preamble.extend_from_slice(&(exact_tokens as u32).to_le_bytes());
        preamble.extend_from_slice(&plane.bytes[..exact_tokens * plane.shape.token_bytes()]);
        tile::pad(preamble);
    }
}

/// A channel, before its class is known.
#[derive(Clone, Copy)]
struct Channel {
    /// The quality layer that has its values; none if no layer has.
    enters: Option<usize>,
    exponent: i8,
    mean: i8,
}

/// Room for what comes of one head.
struct Room {
    /// `[token][head_dim]`
    lines: Vec<f32>,
    values: TileRows,
    fractions: TileRows,
}

impl Room {
    fn new(shape: &PlaneShape) -> Self {
        let rows = || TileRows::zeroed(shape.head_dim, shape.num_tokens);
        Self { lines: Vec::new(), values: rows(), fractions: rows() }
    }
}

/// One head, whose lines, values and fractions are in its room.
struct HeadCoder<'r> {
    qualities: usize,
    mean_step: f32,
    step: f32,
    channels: Vec<Channel>,
    grid: Grid,
    room: &'r mut Room,
}

impl<'r> HeadCoder<'r> {
    fn new(
        isa: Isa,
        steps: &PlaneSteps,
        spread: &Spread,
        exponents: &[i8],
        room: &'r mut Room,
        exact_tokens: usize,
    ) -> Self {
        let channels: Vec<Channel> = spread
            .means
            .iter()
            .zip(&spread.deviations)
            .zip(exponents)
            .map(|((mean, deviation), &exponent)| Channel {
                enters: steps.recipe.enters(*deviation / channel_step(steps.step, exponent), *mean, steps.qualities),
                exponent,
                mean: (mean / steps.mean_step).round_ties_even().clamp(-127.0, 127.0) as i8,
            })
            .collect();
        let (qualities, mean_step, step) = (steps.qualities, steps.mean_step, steps.step);
        let mut coder = Self { qualities, mean_step, step, channels, grid: Grid::default(), room };
        coder.grid = coder.grid();
        coder.quantize(isa, exact_tokens);
        coder
    }

    /// The grid of the finest steps.
    fn grid(&self) -> Grid {
        let mut grid = Grid::default();
        for channel in &self.channels {
            let bits = channel.enters.map_or(0, |enters| self.qualities - 1 - enters);
            let finest = channel_step(self.step, channel.exponent) / (1u32 << (self.qualities - 1)) as f32;
            let inverse = if channel.enters.is_some() { 1.0 / finest } else { 0.0 };
            // Half of a value's range below it, and half a step for rounding down by rounding to the nearest.
            let centre = f32::from(channel.mean) * self.mean_step;
            let shift = (1u32 << bits) as f32 / 2.0 - 0.5;
            grid.inverses.push(inverse);
            grid.offsets.push(shift - centre * inverse);
            grid.fraction_bits.push(bits as u32);
        }
        grid
    }

    /// Fills values and fractions; exact tokens are as their means.
    fn quantize(&mut self, isa: Isa, exact_tokens: usize) {
        let head_dim = self.channels.len();
        for block in 0..head_dim.div_ceil(BLOCK_CHANNELS) {
            let first = block * BLOCK_CHANNELS;
            let channels = first..(first + BLOCK_CHANNELS).min(head_dim);
            for row in 0..self.room.values.rows_per_channel() {
                let [mut values, mut fractions] = [[[0; LANES]; BLOCK_CHANNELS]; 2];
                let first_token = row * LANES;
                for token in 0..row_tokens(self.room.values.num_tokens(), row) {
                    if first_token + token >= exact_tokens {
                        let line = &self.room.lines[(first_token + token) * head_dim..][channels.clone()];
                        simd::quantize_line(isa, &self.grid, line, first, &mut values[token], &mut fractions[token]);
                    }
                }
                simd::turn_into(isa, &values, &mut self.room.values.block_mut(block)[row]);
                simd::turn_into(isa, &fractions, &mut self.room.fractions.block_mut(block)[row]);
            }
        }
    }

    /// Measures the error of each quality layer with those below it.
    fn measure<E: Element>(
        &self,
        isa: Isa,
        plane: &Plane<'_>,
        head: usize,
        turns: Option<&Turns>,
        exact_tokens: usize,
        qualities: usize,
    ) -> Vec<HeadErrors> {
        let head_dim = self.channels.len();
        let [mut line, mut exact] = [vec![0.0; head_dim], vec![0.0; head_dim]];
        let mut elements = vec![0; head_dim * E::BYTES];
        let knowledge: Vec<Knowledge> = (0..qualities).map(|quality| self.knowledge(quality)).collect();
        let mut errors: Vec<HeadErrors> = knowledge.iter().map(|_| HeadErrors::new(plane.shape.num_tokens)).collect();
        for token in exact_tokens..plane.shape.num_tokens {
            simd::widen::<E>(isa, plane.head_line(token, head), &mut exact);
            for (knowledge, errors) in knowledge.iter().zip(&mut errors) {
                let numbers = &self.room.lines[token * head_dim..][..head_dim];
                simd::restore_from(isa, &self.grid, knowledge, numbers, &mut line);
                if let Some(turns) = turns {
                    let [cos, sin] = turns.token(token);
                    simd::rotate(isa, &mut line, cos, sin);
                }
                simd::narrow::<E>(isa, &line, &mut elements);
                simd::widen::<E>(isa, &elements, &mut line);
                simd::measure(isa, token, &exact, &line, errors);
            }
        }
        errors
    }

    /// What is known with the quality layers up to one.
    fn knowledge(&self, quality: usize) -> Knowledge {
        let mut knowledge = Knowledge::default();
        for (channel, &bits) in self.channels.iter().zip(&self.grid.fraction_bits) {
            let entered = channel.enters.filter(|&enters| enters <= quality);
            let [step, offset] = scales(self.step, channel.exponent, entered, self.mean_step, channel.mean);
            let known_bits = entered.map_or(0, |enters| (quality - enters) as u32).min(bits);
            knowledge.scales.steps.push(step);
            knowledge.scales.offsets.push(offset);
            knowledge.known_bits.push(known_bits);
            knowledge.unknown_bits.push(bits - known_bits);
        }
        knowledge
    }
}

/// Adds the tiles of some heads to each layer; gives whether escapes can say all values.
fn push_tiles(isa: Isa, heads: &mut [HeadCoder<'_>], out: &mut [EncodedPlanes]) -> bool {
    let mut all_said = true;
    for (quality, out) in out.iter_mut().enumerate() {
        let parts: Vec<TileParts> = heads.iter_mut().map(|head| TileParts::new(isa, head, quality)).collect();
        let models: Vec<Vec<_>> = parts.iter().map(|parts| parts.models.clone()).collect();
        let rows: Vec<&TileRows> = heads.iter().map(|head| &head.room.values).collect();
        let streams = simd::encode_tiles(isa, &models, &rows);
        for (stream, parts) in streams.into_iter().zip(parts) {
            all_said &= !parts.unsaid;
            let coded = parts.into_tile(stream);
            out.tiles.push(|tiles| coded.write(tiles));
        }
    }
    all_said
}

/// The parts of one head's tile in one layer.
#[derive(Default)]
struct TileParts {
    parameters: Vec<u8>,
    models: Vec<Option<&'static Model>>,
    raw: Vec<u8>,
    escapes: Vec<u8>,
    /// Whether a value is beyond what an escape can say.
    unsaid: bool,
}

impl TileParts {
    /// Puts the symbols of the channels that enter in the place of their values.
    fn new(isa: Isa, head: &mut HeadCoder<'_>, quality: usize) -> Self {
        let mut parts = Self::default();
        for channel in 0..head.channels.len() {
            let Channel { enters, exponent, mean } = head.channels[channel];
            let entering = enters == Some(quality);
            let entered = enters.is_some_and(|enters| enters < quality);
            let mut model = None;
            let mut code = 0;
            if entering {
                let moments = simd::moments(isa, &head.room.values, channel);
                let variance = (u64::from(moments.squares) << 10) / head.room.values.num_tokens() as u64;
                let class = values::class_for(variance).min(CODE_CLASSES - 1);
                let channel_code = ChannelCode { class, exponent };
                code = channel_code.to_byte();
                model = Some(channel_code.values().model);
                parts.code_values(isa, head, channel, channel_code);
            }
            if entered {
                let bit = (quality - enters.unwrap_or_default() - 1) as u32;
                head.room
                    .fractions
                    .channel(channel)
                    .for_each(|row| simd::take_fractions(isa, bit, row, &mut parts.raw));
            } else {
                parts.parameters.push(code);
                if quality == 0 {
                    parts.parameters.push(mean.cast_unsigned());
                }
            }
            parts.models.push(model);
        }
        parts
    }

    fn code_values(&mut self, isa: Isa, head: &mut HeadCoder<'_>, channel: usize, code: ChannelCode) {
        let HeadCoder { room, grid, channels, .. } = head;
        let Room { lines, values: rows, .. } = &mut **room;
        let Self { raw, escapes, unsaid, .. } = self;
        values::to_symbols(isa, code.values().window, rows, channel, raw, |token, value| {
            let exact = match value.cast_signed() {
                -127 | 127 => grid.value(channel, lines[token * channels.len() + channel]),
                value => i32::from(value),
            };
            *unsaid |= i16::try_from(exact).is_err();
            escapes.extend_from_slice(&(exact as i16).to_le_bytes());
        });
    }

    fn into_tile(self, stream: Encoder) -> CodedTile {
        let has_states = self.models.iter().any(Option::is_some);
        CodedTile { parameters: self.parameters, has_states, stream, raw: self.raw, escapes: self.escapes }
    }
}
