//! Q0 from elements to tiles.

use super::choice::choose;
use super::{ChannelCoding, max_tile_bytes};
use crate::element::Element;
use crate::levels::scratch::{Scratch, TileScratch};
use crate::levels::values;
use crate::plane::Plane;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, Isa};
use crate::tile::index::TileWriter;
use crate::tile::rans::LANES;
use crate::tile::{self, CodedTile, bits};

/// Adds one tile per kv head of the plane.
pub(in crate::levels) fn encode_plane<E: Element>(
    isa: Isa,
    plane: &Plane<'_>,
    scratch: &mut Scratch,
    tiles: &mut TileWriter,
) {
    scratch.fit(&plane.shape);
    let Scratch { values: rows, tile, .. } = scratch;
    for head in 0..plane.shape.num_kv_heads {
        tile.clear();
        if E::IS_BF16 {
            split_bf16(isa, plane, head, rows, tile);
        } else {
            split_elements::<E>(isa, plane, head, rows, tile);
        }
        push_tile(plane, head, &tile.encode(isa, rows), tiles);
    }
}

/// Adds a coded tile, or the elements as they are where those are not longer.
fn push_tile(plane: &Plane<'_>, head: usize, coded: &CodedTile<'_>, tiles: &mut TileWriter) {
    if coded.encoded_bytes() < max_tile_bytes(plane.geometry, plane.shape.num_tokens) {
        tiles.push(|out| coded.write(out));
    } else {
        tiles.push(|out| tile::write_verbatim(plane.shape.head(plane.bytes, head), out));
    }
}

/// Splits the elements of one head; `rows` gets the symbols of their exponents.
fn split_bf16(isa: Isa, plane: &Plane<'_>, head: usize, rows: &mut TileRows, tile: &mut TileScratch) {
    let num_tokens = plane.shape.num_tokens;
    let mut raw = std::mem::take(&mut tile.raw);
    raw.resize(plane.shape.head_dim * num_tokens, 0);
    simd::split(isa, plane, head, rows, &mut raw);
    let mut kept = 0;
    for channel in 0..plane.shape.head_dim {
        let of_channel = channel * num_tokens..(channel + 1) * num_tokens;
        if push_channel(isa, rows, channel, || raw[of_channel.clone()].iter().all(|&bits| bits == 0), tile) {
            // Channels without raw bits are rare: mostly nothing moves.
            if kept != of_channel.start {
                raw.copy_within(of_channel, kept);
            }
            kept += num_tokens;
        }
    }
    raw.truncate(kept);
    tile.raw = raw;
}

/// The same, element by element.
fn split_elements<E: Element>(isa: Isa, plane: &Plane<'_>, head: usize, rows: &mut TileRows, tile: &mut TileScratch) {
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
    for (channel, bits) in raw.chunks(shape.num_tokens).enumerate() {
        if push_channel(isa, rows, channel, || bits.iter().all(|&bits| bits == 0), tile) {
            bits.chunks(LANES).for_each(|row| bits::pack(row, E::RAW_BITS, &mut tile.raw));
        }
    }
}

/// Chooses a channel's coding, puts its symbols in the place of its exponents, and says whether it has raw bits.
fn push_channel(
    isa: Isa,
    rows: &mut TileRows,
    channel: usize,
    no_raw_bits: impl FnOnce() -> bool,
    tile: &mut TileScratch,
) -> bool {
    let coding = choose(isa, rows, channel, no_raw_bits);
    if let Some(window) = coding.window() {
        let mut no_raw = Vec::new();
        values::to_symbols(isa, window, rows, channel, &mut no_raw, |_, value| tile.escapes.push(!value));
    }
    tile.parameters.extend(coding.to_parameters());
    tile.models.push(coding.model());
    coding != ChannelCoding::Zero
}
