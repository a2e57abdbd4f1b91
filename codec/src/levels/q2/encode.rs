//! Q2 from elements to a preamble and tiles.

use super::choice::choose;
use super::quantizer::Bins;
use crate::distortion::ErrorMeter;
use crate::element::Element;
use crate::levels::EncodedPlanes;
use crate::plane::Plane;
use crate::tile::rans::{self, LANES};
use crate::tile::{self, CodedTile};
use crate::{Error, Result};

/// Adds the plane's bins and scales, and one tile per kv head.
///
/// # Errors
/// `Invalid` at the first element that is not finite.
pub(in crate::levels) fn encode_plane<E: Element>(plane: &Plane<'_>, out: &mut EncodedPlanes) -> Result<()> {
    let bins = Bins::of_plane(plane.geometry.num_layers(), plane.layer, plane.side);
    let scales = scales::<E>(plane)?;
    write_preamble::<E>(bins, &scales, &mut out.preamble);
    for head in 0..plane.shape.num_kv_heads {
        let symbols = quantize_head::<E>(plane, head, bins, &scales, &mut out.errors);
        let coded = code(symbols, plane.shape.num_tokens, bins);
        out.tiles.push(|tiles| coded.write(tiles));
    }
    Ok(())
}

/// Largest magnitude of each token, over all heads.
fn scales<E: Element>(plane: &Plane<'_>) -> Result<Vec<f32>> {
    let tokens = plane.bytes.chunks_exact(plane.shape.token_bytes()).enumerate();
    tokens.map(|(token, elements)| scale::<E>(elements).map_err(|channel| not_finite(plane, token, channel))).collect()
}

/// Largest magnitude, or the place of the first element that is not finite.
fn scale<E: Element>(elements: &[u8]) -> std::result::Result<f32, usize> {
    elements.chunks_exact(E::BYTES).enumerate().try_fold(0f32, |largest, (channel, element)| {
        let value = E::to_f32(E::load(element));
        if value.is_finite() { Ok(largest.max(value.abs())) } else { Err(channel) }
    })
}

fn not_finite(plane: &Plane<'_>, token: usize, channel: usize) -> Error {
    let (head, d) = (channel / plane.shape.head_dim, channel % plane.shape.head_dim);
    Error::Invalid(format!(
        "element {d} of kv head {head} in {:?} of layer {}, token {token}, is not finite: level q2 takes finite ones",
        plane.side, plane.layer
    ))
}

fn write_preamble<E: Element>(bins: Bins, scales: &[f32], preamble: &mut Vec<u8>) {
    preamble.extend_from_slice(&[bins.count(), 0, 0, 0]);
    for &scale in scales {
        let at = preamble.len();
        preamble.resize(at + E::BYTES, 0);
        E::store(E::from_f32(scale), &mut preamble[at..]);
    }
    tile::pad(preamble);
}

/// Symbols of one head, `[head_dim][token]`; measures the error they make.
fn quantize_head<E: Element>(
    plane: &Plane<'_>,
    head: usize,
    bins: Bins,
    scales: &[f32],
    errors: &mut ErrorMeter,
) -> Vec<u8> {
    let num_tokens = plane.shape.num_tokens;
    let mut symbols = vec![0; plane.shape.head_dim * num_tokens];
    for (token, (elements, &scale)) in plane.shape.head(plane.bytes, head).zip(scales).enumerate() {
        let factor = bins.factor(scale);
        let values = elements.chunks_exact(E::BYTES).map(|element| E::to_f32(E::load(element)));
        errors.add_head(values.enumerate().map(|(d, value)| {
            let symbol = bins.quantize(value, factor);
            symbols[d * num_tokens + token] = symbol;
            let decoded = E::to_f32(E::from_f32(bins.fraction(symbol) * scale));
            f64::from(decoded) - f64::from(value)
        }));
    }
    symbols
}

/// Chooses each channel's coding and codes the symbols under it.
fn code(mut symbols: Vec<u8>, num_tokens: usize, bins: Bins) -> CodedTile {
    let mut parameters = Vec::new();
    let mut models = Vec::new();
    for channel in symbols.chunks_mut(num_tokens) {
        let coding = choose(channel, bins);
        parameters.push(coding.to_parameter(bins));
        models.push(bins.model(coding));
        channel.iter_mut().for_each(|symbol| *symbol = symbol.wrapping_sub(coding.shift) & bins.alphabet_mask());
    }
    let coded = models.iter().zip(symbols.chunks(num_tokens));
    let stream = rans::encode(coded.filter_map(|(model, symbols)| Some(((*model)?, symbols))));
    let num_lanes = if models.iter().any(Option::is_some) { num_tokens.min(LANES) } else { 0 };
    CodedTile { parameters, num_lanes, stream, raw: Vec::new(), escapes: Vec::new() }
}
