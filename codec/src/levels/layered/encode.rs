//! From elements to a preamble and tiles, for all quality layers at once.

use super::head::{HeadCoder, HeadLines};
use super::recipe::Recipe;
use super::spread::{Spread, gather_plane};
use super::tiles::push_tiles;
use crate::element::Element;
use crate::levels::{EncodedPlanes, Mark, Scratch, Surroundings};
use crate::plane::Plane;
use crate::simd::Isa;
use crate::{Result, Side, tile};

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
    scratch: &mut Scratch,
    out: &mut [EncodedPlanes],
) -> Result<()> {
    scratch.fit(&plane.shape);
    gather_plane::<E>(isa, plane, around.turns(plane.side), &mut scratch.lines)?;
    let marks: Vec<Mark> = out.iter().map(EncodedPlanes::mark).collect();
    let exact_tokens = around.exact_tokens.min(plane.shape.num_tokens);
    if !code_plane::<E>(isa, plane, recipe, around, exact_tokens, scratch, out) {
        out.iter_mut().zip(&marks).for_each(|(out, mark)| out.go_back(mark));
        code_plane::<E>(isa, plane, recipe, around, plane.shape.num_tokens, scratch, out);
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
    scratch: &mut Scratch,
    out: &mut [EncodedPlanes],
) -> bool {
    let (shape, turns) = (plane.shape, around.turns(plane.side));
    let lines = std::mem::take(&mut scratch.lines);
    let heads = || lines.chunks_exact(shape.num_tokens * shape.head_dim);
    let spreads: Vec<Spread> =
        heads().map(|lines| Spread::of_lines(isa, &lines[exact_tokens * shape.head_dim..], shape.head_dim)).collect();
    let steps = PlaneSteps::new(recipe, plane.side, around.key_spread, &spreads, out.len());
    steps.write_preamble(plane, exact_tokens, &mut out[0].preamble);
    let limit = recipe.error_limit(plane.side, steps.step);
    let mut within = true;
    let exponents = steps.exponents.chunks(shape.head_dim);
    for (head, ((numbers, spread), exponents)) in heads().zip(&spreads).zip(exponents).enumerate() {
        scratch.clear_errors(shape.num_tokens, out.len());
        let mut coder = HeadCoder::new(&steps, spread, exponents);
        coder.code_lines::<E>(isa, HeadLines { plane, head, turns, numbers }, exact_tokens, scratch);
        for (out, errors) in out.iter_mut().zip(&scratch.errors) {
            within &= errors.are_within(limit);
            out.errors.add_head(errors, shape.head_dim);
        }
        within &= push_tiles(isa, &coder, numbers, scratch, out);
    }
    scratch.lines = lines;
    within
}

/// The steps of a plane.
pub(super) struct PlaneSteps {
    pub(super) recipe: Recipe,
    pub(super) qualities: usize,
    /// Of the base.
    pub(super) step: f32,
    pub(super) mean_step: f32,
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
