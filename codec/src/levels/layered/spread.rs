//! What the encoder sees of a plane before it chooses steps: means and deviations of channels.

use super::coding::step_factor;
use crate::element::Element;
use crate::levels::not_finite;
use crate::plane::Plane;
use crate::rope::Turns;
use crate::simd::{self, Isa};
use crate::{Geometry, KvChunk, Result, Side};

/// Every so many tokens are looked at to find the spread of all layers' keys.
const SAMPLE_STRIDE: usize = 8;

/// Mean and standard deviation of the channels of a head.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread {
    pub(super) means: Vec<f32>,
    pub(super) deviations: Vec<f32>,
}

impl Spread {
    /// Of lines `[token][head_dim]`.
    ///
    /// Distances are from the first line, so that a mean that is large against the spread costs no precision.
    pub(super) fn of_lines(isa: Isa, lines: &[f32], head_dim: usize) -> Self {
        let (mut sums, mut squares) = (vec![0.0; head_dim], vec![0.0; head_dim]);
        let pivots = lines.get(..head_dim).map_or_else(|| vec![0.0; head_dim], <[f32]>::to_vec);
        lines.chunks_exact(head_dim).for_each(|line| simd::add_moments(isa, line, &pivots, &mut sums, &mut squares));
        let count = (lines.len() / head_dim).max(1) as f32;
        let mut spread = Self::default();
        for ((sum, square), pivot) in sums.iter().zip(&squares).zip(&pivots) {
            let distance = sum / count;
            spread.means.push(pivot + distance);
            spread.deviations.push((square / count - distance * distance).max(0.0).sqrt());
        }
        spread
    }
}

/// Fills `lines` with the numbers of a plane, `[kv_head][token][head_dim]`, keys turned back.
///
/// # Errors
/// `Invalid` at the first element that is not finite.
pub(super) fn gather_plane<E: Element>(
    isa: Isa,
    plane: &Plane<'_>,
    turns: Option<&Turns>,
    lines: &mut Vec<f32>,
) -> Result<()> {
    let (head_dim, num_tokens) = (plane.shape.head_dim, plane.shape.num_tokens);
    lines.resize(plane.shape.num_kv_heads * num_tokens * head_dim, 0.0);
    for (token, elements) in plane.bytes.chunks_exact(plane.shape.token_bytes()).enumerate() {
        if !simd::largest_magnitude::<E>(isa, elements).is_finite() {
            let mut numbers = elements.chunks_exact(E::BYTES).map(|element| E::to_f32(E::load(element)));
            let channel = numbers.position(|number| !number.is_finite()).unwrap_or_default();
            return Err(not_finite(plane, token, channel));
        }
        let turn = turns.map(|turns| turns.token(token));
        for (head, elements) in elements.chunks_exact(plane.shape.head_bytes()).enumerate() {
            let line = &mut lines[(head * num_tokens + token) * head_dim..][..head_dim];
            simd::gather::<E>(isa, elements, turn, line);
        }
    }
    Ok(())
}

/// Root mean square of deviations.
pub(super) fn root_mean_square<'a>(deviations: impl Iterator<Item = &'a f32>) -> f32 {
    let (sum, count) = deviations.fold((0.0f64, 0u32), |(sum, count), deviation| {
        (sum + f64::from(*deviation) * f64::from(*deviation), count + 1)
    });
    (sum / f64::from(count.max(1))).sqrt() as f32
}

/// Geometric mean of the spreads of the keys of all layers; those without any do not count.
///
/// Keys of all layers get the same step, whatever their own spread: an error of a key acts by its size.
pub(in crate::levels) fn key_spread<E: Element>(isa: Isa, chunk: &KvChunk, turns: &Turns, exact_tokens: usize) -> f32 {
    let geometry: &Geometry = chunk.geometry();
    let sampled = || (exact_tokens..chunk.num_tokens()).step_by(SAMPLE_STRIDE);
    let mut logs = Vec::new();
    let mut lines = vec![0.0; sampled().count() * geometry.head_dim()];
    for layer in 0..geometry.num_layers() {
        let plane = Plane::of_chunk(chunk, layer, Side::K);
        let mut deviations = Vec::new();
        for head in 0..geometry.num_kv_heads() {
            for (token, line) in sampled().zip(lines.chunks_exact_mut(geometry.head_dim())) {
                simd::gather::<E>(isa, plane.head_line(token, head), Some(turns.token(token)), line);
            }
            deviations.extend(Spread::of_lines(isa, &lines, geometry.head_dim()).deviations);
        }
        let spread = root_mean_square(deviations.iter());
        if spread > 0.0 && spread.is_finite() {
            logs.push(f64::from(spread).ln());
        }
    }
    (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp() as f32
}

/// Exponents of the steps of a plane's channels: finer where the spread is larger, since queries are large where keys are.
pub(super) fn key_exponents(deviations: &[f32]) -> Vec<i8> {
    let logs: Vec<f64> = deviations.iter().map(|deviation| f64::from(*deviation).log2()).collect();
    let finite: Vec<f64> = logs.iter().copied().filter(|log| log.is_finite()).collect();
    let middle = finite.iter().sum::<f64>() / finite.len().max(1) as f64;
    let exponent = |log: &f64| if log.is_finite() { (-2.0 * (log - middle)).round().clamp(-4.0, 4.0) as i8 } else { 0 };
    logs.iter().map(exponent).collect()
}

/// The step of a channel.
pub(super) fn channel_step(step: f32, exponent: i8) -> f32 {
    step * step_factor(exponent)
}
