//! Q0 from elements to tiles.

use super::choice::choose;
use super::{ChannelCoding, ESCAPE, max_tile_bytes, symbol};
use crate::element::Element;
use crate::plane::{HeadView, Plane};
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
        let head_dim = plane.shape.head_dim;
        let mut parts = Self { codings: Vec::with_capacity(head_dim), raw: Vec::new(), escapes: Vec::new() };
        let head = HeadView::new(&plane.shape, plane.bytes, head);
        if E::BYTES == 2 && E::RAW_BITS == u8::BITS {
            let [mut symbols, raw] = simd::split_bf16(isa, &head);
            for channel in 0..head_dim {
                let bytes = raw.channel(channel);
                if parts.push(isa, symbols.channel_mut(channel), || bytes.iter().all(|&bits| bits == 0)) {
                    parts.raw.extend_from_slice(bytes);
                }
            }
            return (parts, symbols);
        }
        let (mut symbols, raw) = split_elements::<E>(&head);
        for (channel, bits) in raw.chunks(head.num_tokens).enumerate() {
            if parts.push(isa, symbols.channel_mut(channel), || bits.iter().all(|&bits| bits == 0)) {
                bits.chunks(LANES).for_each(|row| bits::pack(row, E::RAW_BITS, &mut parts.raw));
            }
        }
        (parts, symbols)
    }

    /// Chooses a channel's coding, puts its symbols in the place of its exponents, and says whether it has raw bits.
    fn push(&mut self, isa: Isa, exponents: &mut [u8], no_raw_bits: impl FnOnce() -> bool) -> bool {
        let coding = choose(isa, exponents, no_raw_bits);
        self.codings.push(coding);
        match coding {
            ChannelCoding::Window { top, .. } => replace_by_symbols(exponents, top, &mut self.escapes),
            ChannelCoding::Zero | ChannelCoding::Constant { .. } => exponents.fill(0),
        }
        coding != ChannelCoding::Zero
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

/// Exponents and raw bits of a head, `[d][token]` both.
fn split_elements<E: Element>(head: &HeadView<'_>) -> (SymbolRows, Vec<u32>) {
    let mut symbols = SymbolRows::zeroed(head.head_dim, head.num_tokens);
    let mut raw = vec![0; head.head_dim * head.num_tokens];
    let stride = symbols.rows_per_channel() * LANES;
    let exponents = symbols.rows_mut().as_flattened_mut();
    for token in 0..head.num_tokens {
        for (d, element) in head.token(token).chunks_exact(E::BYTES).enumerate() {
            (exponents[d * stride + token], raw[d * head.num_tokens + token]) = E::split(E::load(element));
        }
    }
    (symbols, raw)
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
