//! Q2 from elements to a preamble and tiles.

use super::coding::Codes;
use super::quantizer::Bins;
use crate::Result;
use crate::element::Element;
use crate::levels::scratch::{Scratch, TileScratch};
use crate::levels::values;
use crate::levels::{EncodedPlanes, not_finite};
use crate::plane::Plane;
use crate::rows::TileRows;
use crate::simd::{self, Isa};
use crate::tile;

/// Adds the plane's bins and scales, and one tile per kv head.
///
/// # Errors
/// `Invalid` at the first element that is not finite.
pub(in crate::levels) fn encode_plane<E: Element>(
    isa: Isa,
    plane: &Plane<'_>,
    scratch: &mut Scratch,
    out: &mut EncodedPlanes,
) -> Result<()> {
    let bins = Bins::of_plane(plane.geometry.num_layers(), plane.layer, plane.side);
    let scales = scales::<E>(isa, plane)?;
    write_preamble::<E>(bins, &scales, &mut out.preamble);
    let quantizer = bins.quantizer::<E>(isa, &scales);
    scratch.fit(&plane.shape);
    for head in 0..plane.shape.num_kv_heads {
        scratch.clear_errors(plane.shape.num_tokens, 1);
        let Scratch { values, errors, tile, .. } = scratch;
        simd::quantize::<E>(isa, &quantizer, plane, head, values, &mut errors[0]);
        out.errors.add_head(&errors[0], plane.shape.head_dim);
        choose_codings(isa, Codes::of(bins), values, tile);
        let coded = tile.encode(isa, values);
        out.tiles.push(|tiles| coded.write(tiles));
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

fn write_preamble<E: Element>(bins: Bins, scales: &[f32], preamble: &mut Vec<u8>) {
    preamble.extend_from_slice(&[bins.count(), 0, 0, 0]);
    for &scale in scales {
        let at = preamble.len();
        preamble.resize(at + E::BYTES, 0);
        E::store(E::from_f32(scale), &mut preamble[at..]);
    }
    tile::pad(preamble);
}

/// Chooses the codings of all channels, and puts symbols in the place of values.
fn choose_codings(isa: Isa, codes: &Codes, rows: &mut TileRows, tile: &mut TileScratch) {
    tile.clear();
    let TileScratch { parameters, models, raw, escapes, .. } = tile;
    for channel in 0..rows.num_channels() {
        let code = codes.choose(simd::moments(isa, rows, channel), rows.num_tokens());
        let coding = codes.coding(code).expect("what is chosen has a meaning").coded();
        if let Some(coding) = coding {
            values::to_symbols(isa, coding.window, rows, channel, raw, |_, value| escapes.push(value));
        }
        parameters.push(code);
        models.push(coding.map(|coding| coding.model));
    }
}
