//! Q0 from elements to tiles.

use super::choice::choose;
use super::{ChannelCoding, max_tile_bytes};
use crate::element::Element;
use crate::levels::values;
use crate::plane::Plane;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, Isa};
use crate::tile::index::TileWriter;
use crate::tile::rans::{Encoder, LANES};
use crate::tile::{self, CodedTile, bits};

/// Adds one tile per kv head of the plane.
pub(in crate::levels) fn encode_plane<E: Element>(isa: Isa, plane: &Plane<'_>, tiles: &mut TileWriter) {
    let shape = &plane.shape;
    let mut rows = TileRows::zeroed(shape.head_dim, shape.num_tokens);
    let mut encoder = Encoder::new(shape.head_dim * shape.num_tokens, shape.num_tokens);
    for head in 0..shape.num_kv_heads {
        let parts = if E::IS_BF16 {
            Parts::split_bf16(isa, plane, head, &mut rows)
        } else {
            Parts::split_elements::<E>(isa, plane, head, &mut rows)
        };
        let models: Vec<_> = parts.codings.iter().map(|coding| coding.model()).collect();
        let stream = simd::encode_tile(isa, &models, &rows, encoder);
        let coded = parts.into_tile(stream);
        push_tile(plane, head, &coded, tiles);
        encoder = coded.stream;
    }
}

/// Adds a coded tile, or the elements as they are where those are not longer.
fn push_tile(plane: &Plane<'_>, head: usize, coded: &CodedTile, tiles: &mut TileWriter) {
    if coded.encoded_bytes() < max_tile_bytes(plane.geometry, plane.shape.num_tokens) {
        tiles.push(|out| coded.write(out));
    } else {
        tiles.push(|out| tile::write_verbatim(plane.shape.head(plane.bytes, head), out));
    }
}

/// What a tile has besides its symbols.
#[derive(Default)]
struct Parts {
    codings: Vec<ChannelCoding>,
    raw: Vec<u8>,
    escapes: Vec<u8>,
}

impl Parts {
    /// Splits the elements of one head; `rows` gets the symbols of their exponents.
    fn split_bf16(isa: Isa, plane: &Plane<'_>, head: usize, rows: &mut TileRows) -> Self {
        let num_tokens = plane.shape.num_tokens;
        let mut raw = vec![0; plane.shape.head_dim * num_tokens];
        simd::split(isa, plane, head, rows, &mut raw);
        let mut parts = Self::default();
        let mut kept = 0;
        for channel in 0..plane.shape.head_dim {
            let of_channel = channel * num_tokens..(channel + 1) * num_tokens;
            if parts.push(isa, rows, channel, || raw[of_channel.clone()].iter().all(|&bits| bits == 0)) {
                // Channels without raw bits are rare: mostly nothing moves.
                if kept != of_channel.start {
                    raw.copy_within(of_channel, kept);
                }
                kept += num_tokens;
            }
        }
        raw.truncate(kept);
        parts.raw = raw;
        parts
    }

    /// The same, element by element.
    fn split_elements<E: Element>(isa: Isa, plane: &Plane<'_>, head: usize, rows: &mut TileRows) -> Self {
        let shape = plane.shape;
        let mut raw = vec![0; shape.head_dim * shape.num_tokens];
        for (token, elements) in shape.head(plane.bytes, head).enumerate() {
            for (channel, element) in elements.chunks_exact(E::BYTES).enumerate() {
                let (exponent, bits) = E::split(E::load(element));
                let square = &mut rows.block_mut(channel / BLOCK_CHANNELS)[token / LANES];
                square[channel % BLOCK_CHANNELS][token % LANES] = !exponent;
                raw[channel * shape.num_tokens + token] = bits;
            }
        }
        let mut parts = Self::default();
        for (channel, bits) in raw.chunks(shape.num_tokens).enumerate() {
            if parts.push(isa, rows, channel, || bits.iter().all(|&bits| bits == 0)) {
                bits.chunks(LANES).for_each(|row| bits::pack(row, E::RAW_BITS, &mut parts.raw));
            }
        }
        parts
    }

    /// Chooses a channel's coding, puts its symbols in the place of its exponents, and says whether it has raw bits.
    fn push(&mut self, isa: Isa, rows: &mut TileRows, channel: usize, no_raw_bits: impl FnOnce() -> bool) -> bool {
        let coding = choose(isa, rows, channel, no_raw_bits);
        self.codings.push(coding);
        if let Some(window) = coding.window() {
            let escapes = &mut self.escapes;
            let mut no_raw = Vec::new();
            values::to_symbols(isa, window, rows, channel, &mut no_raw, |_, value| escapes.push(!value));
        }
        coding != ChannelCoding::Zero
    }

    fn into_tile(self, stream: Encoder) -> CodedTile {
        CodedTile {
            parameters: self.codings.iter().flat_map(|coding| coding.to_parameters()).collect(),
            has_states: self.codings.iter().any(|coding| coding.model().is_some()),
            stream,
            raw: self.raw,
            escapes: self.escapes,
        }
    }
}
