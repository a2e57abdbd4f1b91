//! Q0 from tiles to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use std::ops::Range;

use super::{ChannelCoding, PARAMETER_BYTES};
use crate::cursor::Cursor;
use crate::element::Element;
use crate::levels::{GROUP_BLOCKS, values};
use crate::plane::{BlockViewMut, PlaneShape};
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, BlockModels, Escaped, Isa, PartsBlock, TILES};
use crate::tile::index::TileReader;
use crate::tile::rans::{Decoder, LANES};
use crate::tile::{ALIGNMENT, Tile, bits};
use crate::{KvChunk, Result};

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
        match Tile::parse(bytes, shape.head_dim.saturating_mul(PARAMETER_BYTES), shape.num_tokens)? {
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
    rows: [[TileRows; TILES]; GROUP_BLOCKS],
}

impl<'a, E: Element> Heads<'a, E> {
    fn new(shape: &PlaneShape) -> Self {
        let rows = || TileRows::zeroed(BLOCK_CHANNELS.min(shape.head_dim), shape.num_tokens);
        Self {
            shape: *shape,
            symbols: Vec::new(),
            channels: Vec::new(),
            rows: std::array::from_fn(|_| std::array::from_fn(|_| rows())),
        }
    }

    fn push(&mut self, head: usize, parameters: &'a [u8], symbols: Decoder<'a>, tail: Cursor<'a>) -> Result<()> {
        self.channels.push(Channels::new(head, self.shape.num_tokens, parameters, tail)?);
        self.symbols.push(symbols);
        Ok(())
    }

    /// Decodes the tiles and leaves none.
    fn decode(&mut self, isa: Isa, plane: &mut [u8]) -> Result<()> {
        for first_block in (0..self.shape.num_blocks()).step_by(GROUP_BLOCKS) {
            self.decode_group(isa, first_block..self.shape.num_blocks(), plane)?;
        }
        self.symbols.drain(..).try_for_each(Decoder::finish)?;
        self.channels.drain(..).try_for_each(|channels| channels.escapes.finish_padding(ALIGNMENT))
    }

    /// Decodes the first [`GROUP_BLOCKS`] of some blocks of channels of each tile.
    fn decode_group(&mut self, isa: Isa, blocks: Range<usize>, plane: &mut [u8]) -> Result<()> {
        for (block, rows) in blocks.clone().zip(&mut self.rows) {
            let rows = rows.get_mut(..self.symbols.len()).unwrap_or_default();
            let mut models = [[None; BLOCK_CHANNELS]; TILES];
            models.iter_mut().zip(&self.channels).for_each(|(models, channels)| *models = channels.models(block));
            let models = models.get(..rows.len()).unwrap_or_default();
            let escaped = simd::decode_block(isa, &mut self.symbols, models, rows, 0)?;
            self.channels.iter_mut().zip(escaped).for_each(|(channels, escaped)| channels.escaped.push(escaped));
        }
        let mut raw = [[[&[][..]; BLOCK_CHANNELS]; GROUP_BLOCKS]; TILES];
        for ((tile, channels), raw) in self.channels.iter_mut().enumerate().zip(&mut raw) {
            for (block, (rows, raw)) in blocks.clone().zip(self.rows.iter_mut().zip(raw)) {
                let Some(rows) = rows.get_mut(tile) else { continue };
                let escaped = channels.escaped.get(block).copied().unwrap_or_default();
                if E::IS_BF16 {
                    *raw = channels.replace_and_take(isa, block, escaped, rows)?;
                } else {
                    let mut view = BlockViewMut::new(&self.shape, plane, channels.head, block);
                    channels.join_elements(isa, block, escaped, rows, &mut view)?;
                }
            }
        }
        if E::IS_BF16 {
            self.join(isa, blocks, &raw, plane);
        }
        Ok(())
    }

    /// Joins a group of blocks of bf16.
    fn join(
        &self,
        isa: Isa,
        blocks: Range<usize>,
        raw: &[[[&[u8]; BLOCK_CHANNELS]; GROUP_BLOCKS]; TILES],
        plane: &mut [u8],
    ) {
        let mut parts = Vec::with_capacity(TILES.saturating_mul(GROUP_BLOCKS));
        for ((tile, channels), raw) in self.channels.iter().enumerate().zip(raw) {
            for (block, (rows, raw)) in blocks.clone().zip(self.rows.iter().zip(raw)) {
                let exponents = rows.get(tile).map(|rows| rows.block(0)).unwrap_or_default();
                parts.push(PartsBlock { head: channels.head, block, exponents, raw: *raw });
            }
        }
        simd::join(isa, &parts, &self.shape, plane);
    }
}

/// The channels of a tile, their raw bits and their escapes.
struct Channels<'a, E> {
    head: usize,
    codings: Vec<ChannelCoding>,
    /// Of each block that was decoded.
    escaped: Vec<Escaped>,
    raw: Cursor<'a>,
    escapes: Cursor<'a>,
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
        Ok(Self { head, codings, escaped: Vec::new(), raw, escapes: tail, element: std::marker::PhantomData })
    }

    fn block(&self, block: usize) -> &[ChannelCoding] {
        self.codings.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default()
    }

    fn models(&self, block: usize) -> BlockModels {
        let mut models = [None; BLOCK_CHANNELS];
        models.iter_mut().zip(self.block(block)).for_each(|(model, coding)| *model = coding.channel_model());
        models
    }

    /// Puts the complements of exponents in the place of a block's symbols, and gives the raw bits of its channels, which
    /// are bytes: `[channel][token]`.
    fn replace_and_take(
        &mut self,
        isa: Isa,
        block: usize,
        escaped: Escaped,
        rows: &mut TileRows,
    ) -> Result<[&'a [u8]; BLOCK_CHANNELS]> {
        static ZEROS: [u8; KvChunk::MAX_TOKENS] = [0; KvChunk::MAX_TOKENS];
        let mut raw = [&ZEROS[..]; BLOCK_CHANNELS];
        let first = block.saturating_mul(BLOCK_CHANNELS);
        for (channel, raw) in raw.iter_mut().enumerate() {
            let Some(&coding) = self.codings.get(first.saturating_add(channel)) else { break };
            self.replace_symbols(isa, coding, escaped >> channel & 1 == 1, rows, channel)?;
            if coding != ChannelCoding::Zero {
                *raw = self.raw.take(rows.num_tokens(), "a channel's raw bits")?;
            }
        }
        Ok(raw)
    }

    /// Joins a block element by element.
    fn join_elements(
        &mut self,
        isa: Isa,
        block: usize,
        escaped: Escaped,
        rows: &mut TileRows,
        view: &mut BlockViewMut<'_>,
    ) -> Result<()> {
        let mut raw_bits = [0; LANES];
        for (channel, coding) in self.block(block).to_vec().into_iter().enumerate() {
            self.replace_symbols(isa, coding, escaped >> channel & 1 == 1, rows, channel)?;
            for (first_token, complements) in (0..).step_by(LANES).zip(rows.channel(channel)) {
                match coding {
                    ChannelCoding::Zero => raw_bits.fill(0),
                    _ => self.unpack_raw_bits(raw_bits.get_mut(..complements.len()).unwrap_or_default())?,
                }
                for (token, (&complement, &raw)) in (first_token..).zip(complements.iter().zip(&raw_bits)) {
                    let place = view.line_mut(token).chunks_exact_mut(E::BYTES).nth(channel);
                    E::store(E::join(!complement, raw), place.unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// Puts the complements of a channel's exponents in the place of its symbols.
    fn replace_symbols(
        &mut self,
        isa: Isa,
        coding: ChannelCoding,
        escaped: bool,
        rows: &mut TileRows,
        channel: usize,
    ) -> Result<()> {
        let escapes = &mut self.escapes;
        match (coding, coding.window()) {
            (_, Some(window)) => {
                let mut no_raw = Cursor::new(&[], 0);
                values::from_symbols(isa, window, escaped, rows, channel, &mut no_raw, |_, place| {
                    *place = !escapes.u8("an escaped exponent")?;
                    Ok(())
                })?;
            }
            (ChannelCoding::Constant { exponent }, None) => {
                rows.channel_mut(channel).for_each(|row| row.fill(!exponent));
            }
            _ => rows.channel_mut(channel).for_each(|row| row.fill(u8::MAX)),
        }
        self.check_exponents(rows, channel)
    }

    /// Refuses exponents that the dtype does not have; all of 8 bits are there.
    fn check_exponents(&self, rows: &TileRows, channel: usize) -> Result<()> {
        let least = if E::MAX_EXPONENT == u8::MAX { None } else { rows.channel(channel).flatten().min() };
        match least {
            Some(complement) if !complement > E::MAX_EXPONENT => {
                Err(self.escapes.corrupt(format!("exponent {} exceeds {}", !complement, E::MAX_EXPONENT)))
            }
            _ => Ok(()),
        }
    }

    fn unpack_raw_bits(&mut self, row: &mut [u32]) -> Result<()> {
        let packed = self.raw.take(bits::packed_bytes(row.len(), E::RAW_BITS), "a row of raw bits")?;
        bits::unpack(packed, E::RAW_BITS, row);
        Ok(())
    }
}

/// Bytes of the raw bits of one channel.
fn raw_bytes<E: Element>(num_tokens: usize) -> usize {
    let row = bits::packed_bytes(LANES, E::RAW_BITS);
    let last_row = bits::packed_bytes(num_tokens % LANES, E::RAW_BITS);
    (num_tokens / LANES).saturating_mul(row).saturating_add(last_row)
}
