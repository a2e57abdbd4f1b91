//! Q2 from elements to a preamble and tiles.

use super::ChannelCoding;
use super::choice::choose;
use super::quantizer::Bins;
use crate::distortion::ErrorMeter;
use crate::element::Element;
use crate::levels::EncodedPlanes;
use crate::plane::Plane;
use crate::rows::SymbolRows;
use crate::simd::{self, Isa, TILES};
use crate::tile::rans::LANES;
use crate::tile::{self, CodedTile};
use crate::{Error, Result};

/// Adds the plane's bins and scales, and one tile per kv head.
///
/// # Errors
/// `Invalid` at the first element that is not finite.
pub(in crate::levels) fn encode_plane<E: Element>(isa: Isa, plane: &Plane<'_>, out: &mut EncodedPlanes) -> Result<()> {
    let bins = Bins::of_plane(plane.geometry.num_layers(), plane.layer, plane.side);
    let scales = scales::<E>(plane)?;
    write_preamble::<E>(bins, &scales, &mut out.preamble);
    let heads: Vec<usize> = (0..plane.shape.num_kv_heads).collect();
    for heads in heads.chunks(TILES) {
        let mut symbols: Vec<SymbolRows> =
            heads.iter().map(|&head| quantize_head::<E>(plane, head, bins, &scales, &mut out.errors)).collect();
        for coded in code(isa, &mut symbols, bins) {
            out.tiles.push(|tiles| coded.write(tiles));
        }
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

/// Symbols of one head; measures the error they make.
fn quantize_head<E: Element>(
    plane: &Plane<'_>,
    head: usize,
    bins: Bins,
    scales: &[f32],
    errors: &mut ErrorMeter,
) -> SymbolRows {
    let mut symbols = SymbolRows::zeroed(plane.shape.head_dim, plane.shape.num_tokens);
    let stride = symbols.rows_per_channel() * LANES;
    let fractions: Vec<f32> = (0..bins.count()).map(|symbol| bins.fraction(symbol)).collect();
    let bytes = symbols.rows_mut().as_flattened_mut();
    for (token, (elements, &scale)) in plane.shape.head(plane.bytes, head).zip(scales).enumerate() {
        let factor = bins.factor(scale);
        let places = bytes[token..].iter_mut().step_by(stride);
        let values = elements.chunks_exact(E::BYTES).map(|element| E::to_f32(E::load(element)));
        errors.add_head(values.zip(places).map(|(value, place)| {
            *place = bins.quantize(value, factor);
            let decoded = E::to_f32(E::from_f32(fractions[usize::from(*place)] * scale));
            f64::from(decoded) - f64::from(value)
        }));
    }
    symbols
}

/// Chooses each channel's coding and codes the symbols of some tiles under it.
fn code(isa: Isa, symbols: &mut [SymbolRows], bins: Bins) -> Vec<CodedTile> {
    let codings: Vec<Vec<ChannelCoding>> = symbols.iter_mut().map(|symbols| shift_to_codings(symbols, bins)).collect();
    let models: Vec<Vec<_>> =
        codings.iter().map(|codings| codings.iter().map(|&coding| bins.model(coding)).collect()).collect();
    let streams = simd::encode_channels(isa, &models, symbols).into_iter();
    let tiles = streams.zip(codings.iter().zip(&models)).zip(symbols);
    tiles
        .map(|((stream, (codings, models)), symbols)| CodedTile {
            parameters: codings.iter().map(|coding| coding.to_parameter(bins)).collect(),
            num_lanes: if models.iter().any(Option::is_some) { symbols.num_tokens().min(LANES) } else { 0 },
            stream,
            raw: Vec::new(),
            escapes: Vec::new(),
        })
        .collect()
}

/// Chooses each channel's coding and shifts its symbols to it.
fn shift_to_codings(symbols: &mut SymbolRows, bins: Bins) -> Vec<ChannelCoding> {
    let num_channels = symbols.rows().len() / symbols.rows_per_channel();
    (0..num_channels)
        .map(|channel| {
            let symbols = symbols.channel_mut(channel);
            let coding = choose(symbols, bins);
            symbols.iter_mut().for_each(|symbol| *symbol = symbol.wrapping_sub(coding.shift) & bins.alphabet_mask());
            coding
        })
        .collect()
}
