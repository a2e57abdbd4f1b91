//! Q2 from elements to a preamble and tiles.

use super::coding::{ChannelCoding, Codes};
use super::quantizer::Bins;
use crate::Result;
use crate::element::Element;
use crate::levels::values;
use crate::levels::{EncodedPlanes, not_finite};
use crate::model::Model;
use crate::plane::Plane;
use crate::rows::TileRows;
use crate::simd::{self, HeadErrors, Isa};
use crate::tile::rans::Encoder;
use crate::tile::{self, CodedTile};

/// Adds the plane's bins and scales, and one tile per kv head.
///
/// # Errors
/// `Invalid` at the first element that is not finite.
pub(in crate::levels) fn encode_plane<E: Element>(isa: Isa, plane: &Plane<'_>, out: &mut EncodedPlanes) -> Result<()> {
    let bins = Bins::of_plane(plane.geometry.num_layers(), plane.layer, plane.side);
    let scales = scales::<E>(isa, plane)?;
    write_preamble::<E>(bins, &scales, &mut out.preamble);
    let quantizer = bins.quantizer::<E>(isa, &scales);
    let shape = plane.shape;
    let mut rows = TileRows::zeroed(shape.head_dim, shape.num_tokens);
    let mut errors = HeadErrors::new(shape.num_tokens);
    let mut encoder = Encoder::new(shape.head_dim * shape.num_tokens, shape.num_tokens);
    for head in 0..shape.num_kv_heads {
        errors.clear();
        simd::quantize::<E>(isa, &quantizer, plane, head, &mut rows, &mut errors);
        out.errors.add_head(&errors, shape.head_dim);
        let parts = Parts::new(isa, &mut rows, Codes::of(bins));
        let stream = simd::encode_tile(isa, &parts.models(), &rows, encoder);
        let coded = parts.into_tile(stream);
        out.tiles.push(|tiles| coded.write(tiles));
        encoder = coded.stream;
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

/// What a tile has besides its symbols.
struct Parts {
    parameters: Vec<u8>,
    codings: Vec<ChannelCoding>,
    raw: Vec<u8>,
    escapes: Vec<u8>,
}

impl Parts {
    /// Chooses codings, and puts symbols in the place of values.
    fn new(isa: Isa, rows: &mut TileRows, codes: &Codes) -> Self {
        let mut parts = Self { parameters: Vec::new(), codings: Vec::new(), raw: Vec::new(), escapes: Vec::new() };
        for channel in 0..rows.num_channels() {
            let code = codes.choose(simd::moments(isa, rows, channel), rows.num_tokens());
            let coding = codes.coding(code).expect("what is chosen has a meaning");
            if let ChannelCoding::Coded(coding) = coding {
                let escapes = &mut parts.escapes;
                values::to_symbols(isa, coding.window, rows, channel, &mut parts.raw, |_, value| escapes.push(value));
            }
            parts.parameters.push(code);
            parts.codings.push(coding);
        }
        parts
    }

    fn models(&self) -> Vec<Option<&'static Model>> {
        self.codings.iter().map(|coding| coding.coded().map(|coding| coding.model)).collect()
    }

    fn into_tile(self, stream: Encoder) -> CodedTile {
        let has_states = self.models().iter().any(Option::is_some);
        CodedTile { parameters: self.parameters, has_states, stream, raw: self.raw, escapes: self.escapes }
    }
}
