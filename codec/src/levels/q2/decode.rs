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
use crate::model::MAX_ALPHABET;
use crate::plane::{ChannelBlock, PlaneShape};
use crate::rows::SymbolRows;
use crate::simd::{self, Dequantizer, Isa, TILES};
use crate::tile::index::TileReader;
use crate::tile::rans::Decoder;
use crate::tile::{ALIGNMENT, Tile};

/// Channels that are decoded, then dequantized, before the next ones: as many as turn into whole lines of a cache.
const BLOCK_CHANNELS: usize = 32;

/// Fills a plane from the next preamble and the next tiles, one per kv head.
pub(in crate::levels) fn decode_plane<E: Element>(
    isa: Isa,
    shape: &PlaneShape,
    preamble: &mut Cursor<'_>,
    tiles: &mut TileReader<'_>,
    plane: &mut [u8],
) -> Result<()> {
    let (bins, scales) = read_preamble::<E>(shape, preamble)?;
    let dequantizer = dequantizer::<E>(bins, &scales);
    for first_head in (0..shape.num_kv_heads).step_by(TILES) {
        let num_heads = TILES.min(shape.num_kv_heads.saturating_sub(first_head));
        let mut heads = Heads::parse(shape, bins, first_head, num_heads, tiles)?;
        for first_channel in (0..shape.head_dim).step_by(BLOCK_CHANNELS) {
            heads.decode_block(isa, first_channel, &dequantizer, plane)?;
        }
        heads.finish()?;
    }
    Ok(())
}

/// The element of each symbol, for each token.
fn dequantizer<E: Element>(bins: Bins, scales: &[f32]) -> Dequantizer {
    let fractions: Vec<f32> = (0..=bins.alphabet_mask()).map(|symbol| bins.fraction(symbol)).collect();
    let mut elements = vec![0; scales.len().saturating_mul(MAX_ALPHABET).saturating_mul(E::BYTES)];
    let of_tokens = elements.chunks_exact_mut(MAX_ALPHABET.saturating_mul(E::BYTES)).zip(scales);
    for (of_token, &scale) in of_tokens {
        for (element, fraction) in of_token.chunks_exact_mut(E::BYTES).zip(fractions.iter().cycle()) {
            E::store(E::from_f32(fraction * scale), element);
        }
    }
    Dequantizer { elements, element_bytes: E::BYTES, symbol_mask: bins.alphabet_mask() }
}

/// Tiles of consecutive heads, decoded in lockstep.
struct Heads<'a> {
    shape: PlaneShape,
    bins: Bins,
    first_head: usize,
    parameters: Vec<&'a [u8]>,
    symbols: Vec<Decoder<'a>>,
    tails: Vec<Cursor<'a>>,
    rows: Vec<SymbolRows>,
}

impl<'a> Heads<'a> {
    fn parse(
        shape: &PlaneShape,
        bins: Bins,
        first_head: usize,
        num_heads: usize,
        tiles: &mut TileReader<'a>,
    ) -> Result<Self> {
        let rows = (0..num_heads).map(|_| SymbolRows::zeroed(BLOCK_CHANNELS, shape.num_tokens)).collect();
        let mut heads = Self {
            shape: *shape,
            bins,
            first_head,
            parameters: Vec::new(),
            symbols: Vec::new(),
            tails: Vec::new(),
            rows,
        };
        for _ in 0..num_heads {
            let tile = tiles.next_tile()?;
            let refuse = tile.clone();
            match Tile::parse(tile, shape.head_dim.saturating_mul(PARAMETER_BYTES))? {
                Tile::Verbatim(_) => return Err(refuse.corrupt("a tile of level q2 is verbatim")),
                Tile::Coded { parameters, symbols, tail } => {
                    heads.parameters.push(parameters);
                    heads.symbols.push(symbols);
                    heads.tails.push(tail);
                }
            }
        }
        Ok(heads)
    }

    /// Decodes a block of channels of each head.
    fn decode_block(
        &mut self,
        isa: Isa,
        first_channel: usize,
        dequantizer: &Dequantizer,
        plane: &mut [u8],
    ) -> Result<()> {
        let bins = self.bins;
        let codings: Vec<Vec<ChannelCoding>> = self
            .parameters
            .iter()
            .map(|parameters| {
                let block = parameters.iter().skip(first_channel).take(BLOCK_CHANNELS);
                block.map(|&parameter| ChannelCoding::from_parameter(parameter, bins)).collect()
            })
            .collect();
        let models: Vec<Vec<_>> =
            codings.iter().map(|codings| codings.iter().map(|&coding| bins.model(coding)).collect()).collect();
        simd::decode_channels(isa, &mut self.symbols, &models, &mut self.rows)?;
        let heads = (self.first_head..).zip(codings.iter().zip(&self.rows)).zip(&self.tails);
        for ((head, (codings, rows)), tail) in heads {
            let shifts: Vec<u8> = codings.iter().map(|coding| coding.shift).collect();
            let mut block = ChannelBlock::new(&self.shape, plane, head, first_channel);
            let largest = simd::dequantize(isa, dequantizer, rows, &shifts, &mut block);
            check_largest(largest, bins).map_err(|reason| tail.corrupt(reason))?;
        }
        Ok(())
    }

    /// Checks that everything was used.
    fn finish(self) -> Result<()> {
        self.symbols.into_iter().try_for_each(Decoder::finish)?;
        self.tails.into_iter().try_for_each(|tail| tail.finish_padding(ALIGNMENT))
    }
}

fn check_largest(largest: u8, bins: Bins) -> std::result::Result<(), String> {
    if largest > bins.max_symbol() {
        return Err(format!("symbol {largest} exceeds {}", bins.max_symbol()));
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
