//! Q2 from elements to a preamble and tiles.

use super::ChannelCoding;
use super::choice::choose;
use super::quantizer::Bins;
use crate::element::Element;
use crate::levels::EncodedPlanes;
use crate::plane::{HeadView, Plane};
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
    let scales = scales::<E>(isa, plane)?;
    write_preamble::<E>(bins, &scales, &mut out.preamble);
    let quantizer = bins.quantizer(scales);
    let heads: Vec<usize> = (0..plane.shape.num_kv_heads).collect();
    for heads in heads.chunks(TILES) {
        let mut symbols: Vec<SymbolRows> = heads
            .iter()
            .map(|&head| {
                let mut symbols = SymbolRows::zeroed(plane.shape.head_dim, plane.shape.num_tokens);
                let head = HeadView::new(&plane.shape, plane.bytes, head);
                let errors = simd::quantize::<E>(isa, &quantizer, &head, &mut symbols);
                out.errors.add_head(&errors, plane.shape.head_dim);
                symbols
            })
            .collect();
        for coded in code(isa, &mut symbols, bins) {
            out.tiles.push(|tiles| coded.write(tiles));
        }
    }
    Ok(())
}

/// Largest magnitude of each token, over all heads.
fn scales<E: Element>(isa: Isa, plane: &Plane<'_>) -> Result<Vec<f32>> {
    let tokens = plane.bytes.chunks_exact(plane.shape.token_bytes()).enumerate();
    tokens
        .map(|(token, elements)| scale::<E>(isa, elements).map_err(|channel| not_finite(plane, token, channel)))
        .collect()
}

/// Largest magnitude, or the place of the first element that is not finite.
fn scale<E: Element>(isa: Isa, elements: &[u8]) -> std::result::Result<f32, usize> {
    let largest = simd::largest_magnitude::<E>(isa, elements);
    if largest.is_finite() {
        return Ok(largest);
    }
    let mut values = elements.chunks_exact(E::BYTES).map(|element| E::to_f32(E::load(element)));
    Err(values.position(|value| !value.is_finite()).unwrap_or_default())
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

/// Chooses each channel's coding and codes the symbols of some tiles under it.
fn code(isa: Isa, symbols: &mut [SymbolRows], bins: Bins) -> Vec<CodedTile> {
    let codings: Vec<Vec<ChannelCoding>> =
        symbols.iter_mut().map(|symbols| shift_to_codings(isa, symbols, bins)).collect();
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
fn shift_to_codings(isa: Isa, symbols: &mut SymbolRows, bins: Bins) -> Vec<ChannelCoding> {
    let num_channels = symbols.rows().len() / symbols.rows_per_channel();
    (0..num_channels)
        .map(|channel| {
            let symbols = symbols.channel_mut(channel);
            let coding = choose(isa, symbols, bins);
            symbols.iter_mut().for_each(|symbol| *symbol = symbol.wrapping_sub(coding.shift) & bins.alphabet_mask());
            coding
        })
        .collect()
}
