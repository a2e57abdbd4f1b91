//! Q2 from a preamble and tiles to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::coding::{ChannelCoding, Codes};
use super::quantizer::Bins;
use super::{PARAMETER_BYTES, PREAMBLE_HEADER_BYTES, preamble_bytes};
use crate::cursor::Cursor;
use crate::element::Element;
use crate::levels::GROUP_BLOCKS;
use crate::levels::values::{self, ValueCoding};
use crate::plane::PlaneShape;
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, Dequantizer, Escaped, Isa, TILES, ValueBlock};
use crate::tile::index::TileReader;
use crate::tile::rans::Decoder;
use crate::tile::{ALIGNMENT, Tile};
use crate::{Error, Result};

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
    let room = || TileRows::zeroed(BLOCK_CHANNELS, shape.num_tokens);
    let mut rows: [[TileRows; TILES]; GROUP_BLOCKS] = std::array::from_fn(|_| std::array::from_fn(|_| room()));
    for first_head in (0..shape.num_kv_heads).step_by(TILES) {
        let num_heads = TILES.min(shape.num_kv_heads.saturating_sub(first_head));
        let mut heads = Heads::parse(shape, bins, first_head, num_heads, tiles)?;
        for first_block in (0..shape.num_blocks()).step_by(GROUP_BLOCKS) {
            heads.decode_group::<E>(isa, first_block, &dequantizer, &mut rows, plane)?;
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
        let codes = Codes::of(bins);
        let mut codings = Vec::with_capacity(parameters.len());
        let mut raw_bytes = 0usize;
        for &code in parameters {
            let Some(coding) = codes.coding(code) else {
                return Err(tail.corrupt(format!("channel code {code} has no meaning with {} bins", bins.count())));
            };
            if let Some(coding) = coding.coded() {
                raw_bytes = raw_bytes.saturating_add(values::raw_bytes(shape.num_tokens, coding.window.raw_bits));
            }
            codings.push(coding);
        }
        let raw = tail.split(raw_bytes, "the raw bits of a tile")?;
        Ok(Self { codings, raw, escapes: tail })
    }

    fn block(&self, block: usize) -> &[ChannelCoding] {
        self.codings.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default()
    }

    /// Puts the values of a block of channels in the place of their symbols.
    fn replace_symbols(&mut self, isa: Isa, block: usize, escaped: Escaped, rows: &mut TileRows) -> Result<()> {
        let Self { codings, raw, escapes } = self;
        let codings = codings.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default();
        for (channel, coding) in codings.iter().enumerate() {
            match *coding {
                ChannelCoding::Coded(coding) => {
                    let escaped = escaped >> channel & 1 == 1;
                    values::from_symbols(isa, coding.window, escaped, rows, channel, raw, |_, place| {
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

    /// Decodes a group of blocks of channels of each head.
    fn decode_group<E: Element>(
        &mut self,
        isa: Isa,
        first_block: usize,
        dequantizer: &Dequantizer,
        rows: &mut [[TileRows; TILES]; GROUP_BLOCKS],
        plane: &mut [u8],
    ) -> Result<()> {
        let blocks = first_block..self.shape.num_blocks();
        for (block, rows) in blocks.clone().zip(&mut *rows) {
            self.decode_block(isa, block, rows)?;
        }
        let heads = (self.first_head..).take(self.symbols.len()).enumerate();
        let values: Vec<ValueBlock<'_>> = heads
            .flat_map(|(tile, head)| {
                let rows = blocks.clone().zip(&*rows);
                rows.filter_map(move |(block, rows)| Some(ValueBlock { head, block, rows: rows.get(tile)?.block(0) }))
            })
            .collect();
        if !simd::dequantize::<E>(isa, dequantizer, &values, &self.shape, plane) {
            let tail = self.channels.first().map(|channels| &channels.escapes);
            let offset = tail.map_or(0, Cursor::offset);
            return Err(Error::corrupt(offset, format!("a value is beyond {}", dequantizer.limit)));
        }
        Ok(())
    }

    /// Decodes the values of a block of channels of each head.
    fn decode_block(&mut self, isa: Isa, block: usize, rows: &mut [TileRows; TILES]) -> Result<()> {
        let rows = rows.get_mut(..self.symbols.len()).unwrap_or_default();
        let mut models = [[None; BLOCK_CHANNELS]; TILES];
        for (models, channels) in models.iter_mut().zip(&self.channels) {
            let codings = models.iter_mut().zip(channels.block(block));
            codings.for_each(|(model, coding)| *model = coding.coded().map(ValueCoding::channel_model));
        }
        let models = models.get(..rows.len()).unwrap_or_default();
        let escaped = simd::decode_block(isa, &mut self.symbols, models, rows, 0)?;
        let mut channels = self.channels.iter_mut().zip(rows).zip(escaped);
        channels.try_for_each(|((channels, rows), escaped)| channels.replace_symbols(isa, block, escaped, rows))
    }

    /// Checks that everything was used.
    fn finish(self) -> Result<()> {
        self.symbols.into_iter().try_for_each(Decoder::finish)?;
        self.channels.into_iter().try_for_each(|channels| channels.escapes.finish_padding(ALIGNMENT))
    }
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
