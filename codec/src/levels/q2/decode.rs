//! Q2 from a preamble and tiles to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::quantizer::Bins;
use super::{ChannelCoding, PARAMETER_BYTES, PREAMBLE_HEADER_BYTES, preamble_bytes};
use crate::Result;
use crate::cursor::Cursor;
use crate::element::Element;
use crate::plane::PlaneShape;
use crate::tile::index::TileReader;
use crate::tile::rans::Decoder;
use crate::tile::{ALIGNMENT, Tile};

/// Fills a plane from the next preamble and the next tiles, one per kv head.
pub(in crate::levels) fn decode_plane<E: Element>(
    shape: &PlaneShape,
    preamble: &mut Cursor<'_>,
    tiles: &mut TileReader<'_>,
    plane: &mut [u8],
) -> Result<()> {
    let (bins, scales) = read_preamble::<E>(shape, preamble)?;
    for head in 0..shape.num_kv_heads {
        let tile = tiles.next_tile()?;
        let refuse = tile.clone();
        match Tile::parse(tile, shape.head_dim.saturating_mul(PARAMETER_BYTES))? {
            Tile::Verbatim(_) => return Err(refuse.corrupt("a tile of level q2 is verbatim")),
            Tile::Coded { parameters, mut symbols, tail } => {
                for (d, &parameter) in parameters.iter().enumerate() {
                    let coding = ChannelCoding::from_parameter(parameter, bins);
                    let channel = decode_symbols(coding, bins, shape.num_tokens, &mut symbols, &tail)?;
                    dequantize::<E>(&channel, &scales, bins, shape.channel_mut(plane, head, d));
                }
                symbols.finish()?;
                tail.finish_padding(ALIGNMENT)?;
            }
        }
    }
    Ok(())
}

/// Bins and scales of the next plane.
fn read_preamble<E: Element>(shape: &PlaneShape, preamble: &mut Cursor<'_>) -> Result<(Bins, Vec<f32>)> {
    let mut bytes = preamble.split(preamble_bytes(E::BYTES, shape.num_tokens), "a plane's scales")?;
    let [count, reserved @ ..] = bytes.array::<PREAMBLE_HEADER_BYTES>("a plane's bins")?;
    let bins = Bins::from_count(count)
        .filter(|_| reserved == [0; 3])
        .ok_or_else(|| bytes.corrupt(format!("{count} bins, then {reserved:?}")))?;
    let elements = bytes.take(shape.num_tokens.saturating_mul(E::BYTES), "a plane's scales")?;
    let scales: Vec<f32> = elements.chunks_exact(E::BYTES).map(|element| E::to_f32(E::load(element))).collect();
    if let Some(scale) = scales.iter().find(|scale| !scale.is_finite() || scale.is_sign_negative()) {
        return Err(bytes.corrupt(format!("a token's scale is {scale}")));
    }
    bytes.finish_padding(ALIGNMENT)?;
    Ok((bins, scales))
}

/// The next channel's symbols, token by token.
fn decode_symbols(
    coding: ChannelCoding,
    bins: Bins,
    num_tokens: usize,
    coded: &mut Decoder<'_>,
    tail: &Cursor<'_>,
) -> Result<Vec<u8>> {
    let mut symbols = vec![0; num_tokens];
    if let Some(model) = bins.model(coding) {
        coded.channel(model, &mut symbols)?;
    }
    for symbol in &mut symbols {
        *symbol = symbol.wrapping_add(coding.shift) & bins.alphabet_mask();
    }
    match symbols.iter().max() {
        Some(&largest) if largest > bins.max_symbol() => {
            Err(tail.corrupt(format!("symbol {largest} exceeds {}", bins.max_symbol())))
        }
        _ => Ok(symbols),
    }
}

fn dequantize<'p, E: Element>(
    symbols: &[u8],
    scales: &[f32],
    bins: Bins,
    elements: impl Iterator<Item = &'p mut [u8]>,
) {
    for (element, (&symbol, &scale)) in elements.zip(symbols.iter().zip(scales)) {
        E::store(E::from_f32(bins.fraction(symbol) * scale), element);
    }
}
