//! Q0 from tiles to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::{ChannelCoding, PARAMETER_BYTES};
use crate::Result;
use crate::cursor::Cursor;
use crate::element::Element;
use crate::levels::values;
use crate::plane::{BlockViewMut, PlaneShape};
use crate::rows::{BLOCK_CHANNELS, TileRows};
use crate::simd::{self, BlockModels, Isa, TILES};
use crate::tile::index::TileReader;
use crate::tile::rans::{Decoder, LANES};
use crate::tile::{ALIGNMENT, Tile, bits};

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
    rows: Vec<TileRows>,
    raw: TileRows,
}

impl<'a, E: Element> Heads<'a, E> {
    fn new(shape: &PlaneShape) -> Self {
        let rows = || TileRows::zeroed(BLOCK_CHANNELS.min(shape.head_dim), shape.num_tokens);
        Self {
            shape: *shape,
            symbols: Vec::new(),
            channels: Vec::new(),
            rows: (0..TILES).map(|_| rows()).collect(),
            raw: rows(),
        }
    }

    fn push(&mut self, head: usize, parameters: &'a [u8], symbols: Decoder<'a>, tail: Cursor<'a>) -> Result<()> {
        self.channels.push(Channels::new(head, self.shape.num_tokens, parameters, tail)?);
        self.symbols.push(symbols);
        Ok(())
    }

    /// Decodes the tiles and leaves none.
    fn decode(&mut self, isa: Isa, plane: &mut [u8]) -> Result<()> {
        for block in 0..self.shape.num_blocks() {
            self.decode_block(isa, block, plane)?;
        }
        self.symbols.drain(..).try_for_each(Decoder::finish)?;
        self.channels.drain(..).try_for_each(|channels| channels.escapes.finish_padding(ALIGNMENT))
    }

    /// Decodes a block of channels of each tile.
    fn decode_block(&mut self, isa: Isa, block: usize, plane: &mut [u8]) -> Result<()> {
        let models: Vec<BlockModels> = self.channels.iter().map(|channels| channels.models(block)).collect();
        let rows = self.rows.get_mut(..self.symbols.len()).unwrap_or_default();
        simd::decode_block(isa, &mut self.symbols, &models, rows, 0)?;
        for (channels, rows) in self.channels.iter_mut().zip(rows) {
            let mut view = BlockViewMut::new(&self.shape, plane, channels.head, block);
            if E::IS_BF16 {
                channels.join_rows(isa, block, rows, &mut self.raw, &mut view)?;
            } else {
                channels.join_elements(isa, block, rows, &mut view)?;
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
        Ok(Self { head, codings, raw, escapes: tail, element: std::marker::PhantomData })
    }

    fn block(&self, block: usize) -> &[ChannelCoding] {
        self.codings.chunks(BLOCK_CHANNELS).nth(block).unwrap_or_default()
    }

    fn models(&self, block: usize) -> BlockModels {
        let mut models = [None; BLOCK_CHANNELS];
        models.iter_mut().zip(self.block(block)).for_each(|(model, coding)| *model = coding.model());
        models
    }

    /// Joins a block of bf16, whose raw bits are bytes.
    fn join_rows(
        &mut self,
        isa: Isa,
        block: usize,
        rows: &mut TileRows,
        raw: &mut TileRows,
        view: &mut BlockViewMut<'_>,
    ) -> Result<()> {
        for (channel, coding) in self.block(block).to_vec().into_iter().enumerate() {
            self.replace_symbols(isa, coding, rows, channel)?;
            for row in raw.channel_mut(channel) {
                match coding {
                    ChannelCoding::Zero => row.fill(0),
                    _ => row.copy_from_slice(self.raw.take(row.len(), "a channel's raw bits")?),
                }
            }
        }
        for (first_token, (exponents, raw)) in (0..).step_by(LANES).zip(rows.block(0).iter().zip(raw.block(0))) {
            let lines = [exponents, raw].map(|square| simd::turn(isa, square));
            simd::join(isa, &lines, first_token..rows.num_tokens(), view);
        }
        Ok(())
    }

    /// Joins a block element by element.
    fn join_elements(
        &mut self,
        isa: Isa,
        block: usize,
        rows: &mut TileRows,
        view: &mut BlockViewMut<'_>,
    ) -> Result<()> {
        let mut raw_bits = [0; LANES];
        for (channel, coding) in self.block(block).to_vec().into_iter().enumerate() {
            self.replace_symbols(isa, coding, rows, channel)?;
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
    fn replace_symbols(&mut self, isa: Isa, coding: ChannelCoding, rows: &mut TileRows, channel: usize) -> Result<()> {
        let escapes = &mut self.escapes;
        match (coding, coding.window()) {
            (_, Some(window)) => {
                let mut no_raw = Cursor::new(&[], 0);
                values::from_symbols(isa, window, rows, channel, &mut no_raw, |_, place| {
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
