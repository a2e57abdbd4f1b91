//! The steps of a plane: its preamble, and what values stand for.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::PREAMBLE_HEADER_BYTES;
use super::coding::step_factor;
use super::recipe::largest_error;
use crate::cursor::Cursor;
use crate::plane::PlaneShape;
use crate::tile::ALIGNMENT;
use crate::{Result, Side};

/// What the preamble of the base says of a plane.
pub(super) struct Steps<'a> {
    pub(super) step: f32,
    pub(super) mean_step: f32,
    /// Elements of the first tokens.
    exact: &'a [u8],
}

impl<'a> Steps<'a> {
    pub(super) fn read(shape: &PlaneShape, preamble: &mut Cursor<'a>) -> Result<Self> {
        let mut fields = preamble.split(PREAMBLE_HEADER_BYTES, "a plane's steps")?;
        let [step, mean_step] = [fields.u32("a step")?, fields.u32("a step of means")?].map(f32::from_bits);
        let exact_tokens = fields.u32("number of exact tokens")? as usize;
        if [step, mean_step].iter().any(|step| !(step.is_finite() && *step > 0.0)) || exact_tokens > shape.num_tokens {
            return Err(fields.corrupt(format!("steps {step}, {mean_step}, {exact_tokens} exact tokens")));
        }
        let bytes = exact_tokens.saturating_mul(shape.token_bytes());
        let mut padded = preamble.split(bytes.next_multiple_of(ALIGNMENT), "exact elements")?;
        let exact = padded.take(bytes, "exact elements")?;
        padded.finish_padding(ALIGNMENT)?;
        Ok(Self { step, mean_step, exact })
    }

    pub(super) fn write_exact(&self, shape: &PlaneShape, plane: &mut [u8]) {
        let tokens = plane.chunks_exact_mut(shape.token_bytes());
        tokens.zip(self.exact.chunks_exact(shape.token_bytes())).for_each(|(to, exact)| to.copy_from_slice(exact));
    }
}

/// The largest error that the planes of a segment of Q1 can have, by their steps: those in its preamble.
pub(in crate::levels) fn error_bound(
    shape: &PlaneShape,
    side: Side,
    num_planes: usize,
    preamble: &mut Cursor<'_>,
) -> Result<f64> {
    let mut largest = 0.0f64;
    for _ in 0..num_planes {
        largest = largest.max(largest_error(side, Steps::read(shape, preamble)?.step));
    }
    Ok(largest)
}

/// Bytes of the exact elements of a segment's planes.
pub(in crate::levels) fn exact_bytes(
    shape: &PlaneShape,
    num_planes: usize,
    preamble: &mut Cursor<'_>,
) -> Result<usize> {
    (0..num_planes).try_fold(0usize, |sum, _| Ok(sum.saturating_add(Steps::read(shape, preamble)?.exact.len())))
}

/// Step of a 256th of a value, and what is added: the channel's mean, less the half by which fractions are above.
///
/// `halvings`: of the plane's step, before the channel entered; none where the channel has no values yet.
pub(super) fn scales(step: f32, exponent: i8, halvings: Option<usize>, mean_step: f32, mean: i8) -> [f32; 2] {
    let mean = f32::from(mean) * mean_step;
    let Some(halvings) = halvings else { return [0.0, mean] };
    let halved = (0..halvings).fold(step * step_factor(exponent), |step, _| step * 0.5);
    let fine = halved * (1.0 / 256.0);
    [fine, mean - 128.0 * fine]
}
