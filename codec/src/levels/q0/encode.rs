//! Q0 from elements to tiles.

use super::choice::choose;
use super::{ChannelCoding, ESCAPE, max_tile_bytes, symbol};
use crate::element::Element;
use crate::plane::Plane;
use crate::rows::SymbolRows;
use crate::simd::{self, Isa, TILES};
use crate::tile::index::TileWriter;
use crate::tile::rans::{LANES, Stream};
use crate::tile::{self, CodedTile, bits};

/// Adds one tile per kv head of the plane.
pub(in crate::levels) fn encode_plane<E: Element>(isa: Isa, plane: &Plane<'_>, tiles: &mut TileWriter) {
    let heads: Vec<usize> = (0..plane.shape.num_kv_heads).collect();
    for heads in heads.chunks(TILES) {
        let (parts, symbols): (Vec<Parts>, Vec<SymbolRows>) =
            heads.iter().map(|&head| Parts::split::<E>(isa, plane, head)).unzip();
        let models: Vec<Vec<_>> =
            parts.iter().map(|parts| parts.codings.iter().map(|coding| coding.model()).collect()).collect();
        let streams = simd::encode_channels(isa, &models, &symbols);
        for (&head, (parts, stream)) in heads.iter().zip(parts.into_iter().zip(streams)) {
            push_tile(plane, head, parts.into_tile(plane.shape.num_tokens, stream), tiles);
        }
    }
}

/// Adds a coded tile, or the elements as they are where those are not longer.
fn push_tile(plane: &Plane<'_>, head: usize, coded: CodedTile, tiles: &mut TileWriter) {
    if coded.encoded_bytes() < max_tile_bytes(plane.geometry, plane.shape.num_tokens) {
        tiles.push(|out| coded.write(out));
    } else {
        tiles.push(|out| tile::write_verbatim(plane.shape.head(plane.bytes, head), out));
    }
}

/// What a tile has besides its symbols.
struct Parts {
    codings: Vec<ChannelCoding>,
    raw: Vec<u8>,
    escapes: Vec<u8>,
}

impl Parts {
    /// Splits the elements of one head, and gives the symbols of their exponents too.
    fn split<E: Element>(isa: Isa, plane: &Plane<'_>, head: usize) -> (Self, SymbolRows) {
        let (num_tokens, head_dim) = (plane.shape.num_tokens, plane.shape.head_dim);
        let mut symbols = SymbolRows::zeroed(head_dim, num_tokens);
        let mut raw_bits = vec![0; head_dim * num_tokens];
        let stride = symbols.rows_per_channel() * LANES;
        let exponents = symbols.rows_mut().as_flattened_mut();
        for (token, elements) in plane.shape.head(plane.bytes, head).enumerate() {
            for (d, element) in elements.chunks_exact(E::BYTES).enumerate() {
                (exponents[d * stride + token], raw_bits[d * num_tokens + token]) = E::split(E::load(element));
            }
        }
        let mut parts = Self { codings: Vec::with_capacity(head_dim), raw: Vec::new(), escapes: Vec::new() };
        for (channel, raw_bits) in raw_bits.chunks(num_tokens).enumerate() {
            parts.push::<E>(isa, symbols.channel_mut(channel), raw_bits);
        }
        (parts, symbols)
    }

    /// Chooses a channel's coding and puts its symbols in the place of its exponents.
    fn push<E: Element>(&mut self, isa: Isa, exponents: &mut [u8], raw_bits: &[u32]) {
        let coding = choose(isa, exponents, raw_bits);
        self.codings.push(coding);
        match coding {
            ChannelCoding::Window { top, .. } => replace_by_symbols(exponents, top, &mut self.escapes),
            ChannelCoding::Zero | ChannelCoding::Constant { .. } => exponents.fill(0),
        }
        if coding != ChannelCoding::Zero {
            raw_bits.chunks(LANES).for_each(|row| bits::pack(row, E::RAW_BITS, &mut self.raw));
        }
    }

    fn into_tile(self, num_tokens: usize, stream: Stream) -> CodedTile {
        let has_symbols = self.codings.iter().any(|coding| coding.model().is_some());
        CodedTile {
            parameters: self.codings.iter().flat_map(|coding| coding.to_parameters()).collect(),
            num_lanes: if has_symbols { num_tokens.min(LANES) } else { 0 },
            stream,
            raw: self.raw,
            escapes: self.escapes,
        }
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
