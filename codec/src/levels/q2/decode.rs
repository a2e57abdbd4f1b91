//! Q2 from a preamble and tiles to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::coding::{ChannelCoding, Codes};
use super::quantizer::Bins;
use super::{PARAMETER_BYTES, PREAMBLE_HEADER_BYTES, preamble_bytes};
use crate::Result;
use crate::cursor::Cursor;
use crate::element::Element;
use crate::levels::values;
use crate::plane::{BlockViewMut, PlaneShape};
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, BlockModels, Dequantizer, Isa, TILES};
use crate::tile::index::TileReader;
use crate::tile::rans::Decoder;
use crate::tile::{ALIGNMENT, Tile};

/// Fills a plane from the next preamble and the next tiles, one per kv head.
pub(in crate::levels) fn decode_plane<E: Element>(
    isa: Isa,
    shape: &PlaneShape,
    preamble: &mut Cursor<'_>,
    tiles: &mut TileReader<'_>,
    plane: &mut [u8],
) -> Result<()> {
    let (bins, scales) = read_preamble::<E>(shape, preamble)?;
    let tables = simd::token_tables::<E>(isa, &bins.fractions(), &scales);
    let dequantizer = Dequantizer { tables, limit: bins.center() };
    let mut rows: Vec<_> = (0..TILES).map(|_| TileRows::zeroed(BLOCK_CHANNELS, shape.num_tokens)).collect();
    for first_head in (0..shape.num_kv_heads).step_by(TILES) {
        let num_heads = TILES.min(shape.num_kv_heads.saturating_sub(first_head));
        let mut heads = Heads::parse(shape, bins, first_head, num_heads, tiles)?;
        for block in 0..shape.num_blocks() {
            heads.decode_block::<E>(isa, block, &dequantizer, rows.get_mut(..num_heads).unwrap_or_default(), plane)?;
        }
        heads.finish()?;
    }
    Ok(())
}

/// Tiles of consecutive heads, decoded in lockstep.
struct Heads<'a> {
    shape: PlaneShape,
    first_head: usize,
    symbols: Vec<Decoder<'a>>,
    channels: Vec<Channels<'a>>,
}

/// What a tile has besides its symbols.
struct Channels<'a> {
    codings: Vec<ChannelCoding>,
    raw: Cursor<'a>,
    escapes: Cursor<'a>,
}

impl<'a> Channels<'a> {
    fn new(shape: &PlaneShape, bins: Bins, parameters: &[u8], mut tail: Cursor<'a>) -> Result<Self> {
        let codes = Codes::new(bins);
        let coding = |&code: &u8| {
            let meaningless = || tail.corrupt(format!("channel code {code} has no meaning with {} bins", bins.count()));
            codes.coding(code).ok_or_else(meaningless)
        };
        let codings = parameters.iter().map(coding).collect::<Result<Vec<_>>>()?;
        let raw_bits = codings.iter().filter_map(|coding| coding.coded()).map(|coding| coding.window.raw_bits);
        let raw_bytes = raw_bits.map(|raw_bits| values::raw_bytes(shape.num_tokens, raw_bits)).sum();
        let raw = tail.split(raw_bytes, "the raw bits of a tile")?;
        Ok(Self { codings, raw, escapes: tail })
    }

    fn block(&self, block: usize) -> &[ChannelCoding] {
        self.codings.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default()
    }

    /// Puts the values of a block of channels in the place of their symbols.
    fn replace_symbols(&mut self, isa: Isa, block: usize, rows: &mut TileRows) -> Result<()> {
        let Self { codings, raw, escapes } = self;
        let codings = codings.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default();
        for (channel, coding) in codings.iter().enumerate() {
            match *coding {
                ChannelCoding::Coded(coding) => {
                    values::from_symbols(isa, coding.window, rows, channel, raw, |_, place| {
                        *place = escapes.u8("an escaped value")?;
                        Ok(())
                    })?
                }
                ChannelCoding::Constant(value) => {
                    rows.channel_mut(channel).for_each(|row| row.fill(value.cast_unsigned()));
                }
            }
        }
        Ok(())
    }
}

impl<'a> Heads<'a> {
    fn parse(
        shape: &PlaneShape,
        bins: Bins,
        first_head: usize,
        num_heads: usize,
        tiles: &mut TileReader<'a>,
    ) -> Result<Self> {
        let mut heads = Self { shape: *shape, first_head, symbols: Vec::new(), channels: Vec::new() };
        for _ in 0..num_heads {
            let tile = tiles.next_tile()?;
            let refuse = tile.clone();
            match Tile::parse(tile, shape.head_dim.saturating_mul(PARAMETER_BYTES), shape.num_tokens)? {
                Tile::Verbatim(_) => return Err(refuse.corrupt("a tile of level q2 is verbatim")),
                Tile::Coded { parameters, symbols, tail } => {
                    heads.channels.push(Channels::new(shape, bins, parameters, tail)?);
                    heads.symbols.push(symbols);
                }
            }
        }
        Ok(heads)
    }

    /// Decodes a block of channels of each head.
    fn decode_block<E: Element>(
        &mut self,
        isa: Isa,
        block: usize,
        dequantizer: &Dequantizer,
        rows: &mut [TileRows],
        plane: &mut [u8],
    ) -> Result<()> {
        let models: Vec<BlockModels> =
            self.channels.iter().map(|channels| block_models(channels.block(block))).collect();
        simd::decode_block(isa, &mut self.symbols, &models, rows, 0)?;
        for ((head, channels), rows) in (self.first_head..).zip(&mut self.channels).zip(rows) {
            channels.replace_symbols(isa, block, rows)?;
            let mut view = BlockViewMut::new(&self.shape, plane, head, block);
            for (row, square) in rows.block(0).iter().enumerate() {
                let values = simd::turn(isa, square);
                if !simd::dequantize::<E>(isa, dequantizer, &values, row, &mut view) {
                    return Err(channels.escapes.corrupt(format!("a value is beyond {}", dequantizer.limit)));
                }
            }
        }
        Ok(())
    }

    /// Checks that everything was used.
    fn finish(self) -> Result<()> {
        self.symbols.into_iter().try_for_each(Decoder::finish)?;
        self.channels.into_iter().try_for_each(|channels| channels.escapes.finish_padding(ALIGNMENT))
    }
}

/// The models of a block of channels.
fn block_models(codings: &[ChannelCoding]) -> BlockModels {
    let mut models = [None; BLOCK_CHANNELS];
    models.iter_mut().zip(codings).for_each(|(model, coding)| *model = coding.coded().map(|coding| coding.model));
    models
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
