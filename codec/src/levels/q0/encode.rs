//! Q0 from elements to tiles.

use super::choice::choose;
use super::{ChannelCoding, ESCAPE, max_tile_bytes, symbol};
use crate::element::Element;
use crate::plane::Plane;
use crate::tile::index::TileWriter;
use crate::tile::rans::{self, LANES};
use crate::tile::{self, CodedTile, bits};

/// Adds one tile per kv head of the plane.
pub(in crate::levels) fn encode_plane<E: Element>(plane: &Plane<'_>, tiles: &mut TileWriter) {
    for head in 0..plane.shape.num_kv_heads {
        let coded = encode_head::<E>(plane, head);
        if coded.encoded_bytes() < max_tile_bytes(plane.geometry, plane.shape.num_tokens) {
            tiles.push(|out| coded.write(out));
        } else {
            tiles.push(|out| tile::write_verbatim(plane.shape.head(plane.bytes, head), out));
        }
    }
}

fn encode_head<E: Element>(plane: &Plane<'_>, head: usize) -> CodedTile {
    let num_tokens = plane.shape.num_tokens;
    let mut channels = Channels::split::<E>(plane, head);
    let (mut parameters, mut raw, mut escapes) = (Vec::new(), Vec::new(), Vec::new());
    let mut models = Vec::with_capacity(plane.shape.head_dim);
    for (exponents, raw_bits) in channels.iter_mut(num_tokens) {
        let coding = choose(exponents, raw_bits);
        parameters.extend(coding.to_parameters());
        models.push(coding.model());
        if let ChannelCoding::Window { top, .. } = coding {
            replace_by_symbols(exponents, top, &mut escapes);
        }
        if coding != ChannelCoding::Zero {
            raw_bits.chunks(LANES).for_each(|row| bits::pack(row, E::RAW_BITS, &mut raw));
        }
    }
    let coded = models.iter().zip(channels.exponents.chunks(num_tokens));
    let stream = rans::encode(coded.filter_map(|(model, symbols)| Some(((*model)?, symbols))));
    let num_lanes = if models.iter().any(Option::is_some) { num_tokens.min(LANES) } else { 0 };
    CodedTile { parameters, num_lanes, stream, raw, escapes }
}

/// The elements of one head, split and turned: `[head_dim][token]`.
struct Channels {
    exponents: Vec<u8>,
    raw: Vec<u32>,
}

impl Channels {
    fn split<E: Element>(plane: &Plane<'_>, head: usize) -> Self {
        let (num_tokens, head_dim) = (plane.shape.num_tokens, plane.shape.head_dim);
        let mut channels = Self { exponents: vec![0; head_dim * num_tokens], raw: vec![0; head_dim * num_tokens] };
        for (token, elements) in plane.shape.head(plane.bytes, head).enumerate() {
            for (d, element) in elements.chunks_exact(E::BYTES).enumerate() {
                let at = d * num_tokens + token;
                (channels.exponents[at], channels.raw[at]) = E::split(E::load(element));
            }
        }
        channels
    }

    fn iter_mut(&mut self, num_tokens: usize) -> impl Iterator<Item = (&mut [u8], &[u32])> {
        self.exponents.chunks_mut(num_tokens).zip(self.raw.chunks(num_tokens))
    }
}

fn replace_by_symbols(exponents: &mut [u8], top: u8, escapes: &mut Vec<u8>) {
    for exponent in exponents {
        let symbol = symbol(top, *exponent);
        if symbol == ESCAPE {
            escapes.push(*exponent);
        }
        *exponent = symbol;
    }
}
