//! Q0 from tiles to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::{ChannelCoding, ESCAPE, PARAMETER_BYTES};
use crate::cursor::Cursor;
use crate::element::Element;
use crate::plane::{ChannelBlock, PlaneShape};
use crate::rows::SymbolRows;
use crate::simd::{self, Bf16Rows, Isa, TILES};
use crate::tile::index::TileReader;
use crate::tile::rans::{Decoder, LANES};
use crate::tile::{ALIGNMENT, Tile, bits};
use crate::{Error, Result};

/// Channels that are decoded, then joined, before the next ones: as many as turn into whole lines of a cache.
const BLOCK_CHANNELS: usize = 32;

/// Fills a plane from the next tiles, one per kv head.
pub(in crate::levels) fn decode_plane<E: Element>(
    isa: Isa,
    shape: &PlaneShape,
    tiles: &mut TileReader<'_>,
    plane: &mut [u8],
) -> Result<()> {
    let mut heads = Heads::<E>::new(shape);
    for head in 0..shape.num_kv_heads {
        let bytes = tiles.next_tile()?;
        match Tile::parse(bytes, shape.head_dim.saturating_mul(PARAMETER_BYTES))? {
            Tile::Verbatim(elements) => copy_head(shape, elements, shape.head_mut(plane, head))?,
            Tile::Coded { parameters, symbols, tail } => heads.push(head, parameters, symbols, tail)?,
        }
        if heads.channels.len() == TILES {
            heads.decode(isa, plane)?;
        }
    }
    heads.decode(isa, plane)
}

fn copy_head<'p>(shape: &PlaneShape, mut elements: Cursor<'_>, head: impl Iterator<Item = &'p mut [u8]>) -> Result<()> {
    for token in head {
        token.copy_from_slice(elements.take(shape.head_bytes(), "a token's elements")?);
    }
    elements.finish_padding(ALIGNMENT)
}

/// Tiles of some heads, to decode in lockstep.
struct Heads<'a, E> {
    shape: PlaneShape,
    symbols: Vec<Decoder<'a>>,
    channels: Vec<Channels<'a, E>>,
    rows: Vec<SymbolRows>,
    parts: Bf16Rows,
}

impl<'a, E: Element> Heads<'a, E> {
    fn new(shape: &PlaneShape) -> Self {
        let rows = || SymbolRows::zeroed(BLOCK_CHANNELS, shape.num_tokens);
        Self {
            shape: *shape,
            symbols: Vec::new(),
            channels: Vec::new(),
            rows: (0..TILES).map(|_| rows()).collect(),
            parts: Bf16Rows { exponents: rows(), raw: rows(), num_channels: 0 },
        }
    }

    fn push(&mut self, head: usize, parameters: &'a [u8], symbols: Decoder<'a>, tail: Cursor<'a>) -> Result<()> {
        self.channels.push(Channels::new(head, self.shape.num_tokens, parameters, tail)?);
        self.symbols.push(symbols);
        Ok(())
    }

    /// Decodes the tiles and leaves none.
    fn decode(&mut self, isa: Isa, plane: &mut [u8]) -> Result<()> {
        for first_channel in (0..self.shape.head_dim).step_by(BLOCK_CHANNELS) {
            self.decode_block(isa, first_channel, plane)?;
        }
        self.symbols.drain(..).try_for_each(Decoder::finish)?;
        self.channels.drain(..).try_for_each(|channels| channels.escapes.finish_padding(ALIGNMENT))
    }

    /// Decodes a block of channels of each tile.
    fn decode_block(&mut self, isa: Isa, first_channel: usize, plane: &mut [u8]) -> Result<()> {
        let codings: Vec<&[ChannelCoding]> = self
            .channels
            .iter()
            .map(|channels| channels.codings.chunks(BLOCK_CHANNELS).nth(first_channel / BLOCK_CHANNELS).unwrap_or(&[]))
            .collect();
        let models: Vec<Vec<_>> =
            codings.iter().map(|codings| codings.iter().map(|coding| coding.model()).collect()).collect();
        let num_tiles = self.symbols.len();
        simd::decode_channels(isa, &mut self.symbols, &models, self.rows.get_mut(..num_tiles).unwrap_or_default())?;
        for (channels, rows) in self.channels.iter_mut().zip(&mut self.rows) {
            let mut block = ChannelBlock::new(&self.shape, plane, channels.head, first_channel);
            if E::BYTES == 2 && E::RAW_BITS == u8::BITS {
                channels.join_rows(isa, first_channel, rows, &mut self.parts, &mut block)?;
            } else {
                channels.join_elements(first_channel, rows, &mut block)?;
            }
        }
        Ok(())
    }
}

/// The channels of a tile, their raw bits and their escapes.
struct Channels<'a, E> {
    head: usize,
    codings: Vec<ChannelCoding>,
    raw: Cursor<'a>,
    escapes: Cursor<'a>,
    raw_bits: Vec<u32>,
    element: std::marker::PhantomData<E>,
}

impl<'a, E: Element> Channels<'a, E> {
    fn new(head: usize, num_tokens: usize, parameters: &[u8], mut tail: Cursor<'a>) -> Result<Self> {
        let coding = |&parameters: &[u8; PARAMETER_BYTES]| {
            ChannelCoding::from_parameters(parameters)
                .ok_or_else(|| tail.corrupt(format!("channel parameters {parameters:?} have no meaning")))
        };
        let codings = parameters.as_chunks().0.iter().map(coding).collect::<Result<Vec<_>>>()?;
        let with_raw = codings.iter().filter(|&&coding| coding != ChannelCoding::Zero).count();
        let raw = tail.split(with_raw.saturating_mul(raw_bytes::<E>(num_tokens)), "the raw bits of a tile")?;
        let raw_bits = vec![0; num_tokens];
        Ok(Self { head, codings, raw, escapes: tail, raw_bits, element: std::marker::PhantomData })
    }

    fn block(&self, first_channel: usize) -> Vec<ChannelCoding> {
        self.codings.iter().copied().skip(first_channel).take(BLOCK_CHANNELS).collect()
    }

    /// Joins a block of bf16, whose raw bits are bytes.
    fn join_rows(
        &mut self,
        isa: Isa,
        first_channel: usize,
        rows: &mut SymbolRows,
        parts: &mut Bf16Rows,
        block: &mut ChannelBlock<'_>,
    ) -> Result<()> {
        let codings = self.block(first_channel);
        parts.num_channels = codings.len();
        for (channel, &coding) in codings.iter().enumerate() {
            self.replace_symbols(coding, rows.channel_mut(channel))?;
            let raw = parts.raw.channel_mut(channel);
            match coding {
                ChannelCoding::Zero => raw.fill(0),
                _ => raw.copy_from_slice(self.raw.take(raw.len(), "a channel's raw bits")?),
            }
        }
        std::mem::swap(rows, &mut parts.exponents);
        simd::join_bf16(isa, parts, block);
        Ok(())
    }

    /// Joins a block element by element.
    fn join_elements(
        &mut self,
        first_channel: usize,
        rows: &mut SymbolRows,
        block: &mut ChannelBlock<'_>,
    ) -> Result<()> {
        for (channel, coding) in self.block(first_channel).into_iter().enumerate() {
            let exponents = rows.channel_mut(channel);
            self.replace_symbols(coding, exponents)?;
            match coding {
                ChannelCoding::Zero => self.raw_bits.fill(0),
                _ => self.unpack_raw_bits()?,
            }
            for (token, (&exponent, &raw)) in exponents.iter().zip(&self.raw_bits).enumerate() {
                E::store(E::join(exponent, raw), block.element_mut(token, channel));
            }
        }
        Ok(())
    }

    /// Puts a channel's exponents in the place of its symbols.
    fn replace_symbols(&mut self, coding: ChannelCoding, symbols: &mut [u8]) -> Result<()> {
        match coding {
            ChannelCoding::Window { top, .. } => replace_symbols(symbols, top, &mut self.escapes)?,
            ChannelCoding::Constant { exponent } => symbols.fill(exponent),
            ChannelCoding::Zero => symbols.fill(0),
        }
        match symbols.iter().max() {
            Some(&largest) if largest > E::MAX_EXPONENT => {
                Err(self.escapes.corrupt(format!("exponent {largest} exceeds {}", E::MAX_EXPONENT)))
            }
            _ => Ok(()),
        }
    }

    fn unpack_raw_bits(&mut self) -> Result<()> {
        for row in self.raw_bits.chunks_mut(LANES) {
            let packed = self.raw.take(bits::packed_bytes(row.len(), E::RAW_BITS), "a row of raw bits")?;
            bits::unpack(packed, E::RAW_BITS, row);
        }
        Ok(())
    }
}

/// Bytes of the raw bits of one channel.
fn raw_bytes<E: Element>(num_tokens: usize) -> usize {
    let row = bits::packed_bytes(LANES, E::RAW_BITS);
    let last_row = bits::packed_bytes(num_tokens % LANES, E::RAW_BITS);
    (num_tokens / LANES).saturating_mul(row).saturating_add(last_row)
}

/// Distances below `top`, to exponents; escapes are rare.
fn replace_symbols(symbols: &mut [u8], top: u8, escapes: &mut Cursor<'_>) -> Result<()> {
    for row in symbols.chunks_mut(LANES) {
        let largest = row.iter().fold(0, |largest, &symbol| largest.max(symbol));
        if largest <= top.min(ESCAPE.saturating_sub(1)) {
            row.iter_mut().for_each(|symbol| *symbol = top.wrapping_sub(*symbol));
        } else {
            row.iter_mut().try_for_each(|symbol| replace_symbol(symbol, top, escapes))?;
        }
    }
    Ok(())
}

fn replace_symbol(symbol: &mut u8, top: u8, escapes: &mut Cursor<'_>) -> Result<()> {
    *symbol = match *symbol {
        ESCAPE => escapes.u8("an escaped exponent")?,
        distance => top.checked_sub(distance).ok_or_else(|| below_zero(top, distance, escapes))?,
    };
    Ok(())
}

fn below_zero(top: u8, distance: u8, escapes: &Cursor<'_>) -> Error {
    escapes.corrupt(format!("an exponent lies {distance} below the top {top}"))
}
