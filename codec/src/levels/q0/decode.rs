//! Q0 from tiles to elements.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use super::{ChannelCoding, ESCAPE, PARAMETER_BYTES};
use crate::cursor::Cursor;
use crate::element::Element;
use crate::plane::PlaneShape;
use crate::tile::index::TileReader;
use crate::tile::rans::{Decoder, LANES};
use crate::tile::{ALIGNMENT, Tile, bits};
use crate::{Error, Result};

/// Fills a plane from the next tiles, one per kv head.
pub(in crate::levels) fn decode_plane<E: Element>(
    shape: &PlaneShape,
    tiles: &mut TileReader<'_>,
    plane: &mut [u8],
) -> Result<()> {
    for head in 0..shape.num_kv_heads {
        let bytes = tiles.next_tile()?;
        match Tile::parse(bytes, shape.head_dim.saturating_mul(PARAMETER_BYTES))? {
            Tile::Verbatim(elements) => copy_head(shape, elements, shape.head_mut(plane, head))?,
            Tile::Coded { parameters, symbols, tail } => {
                let mut channels = Channels::<E>::new(shape.num_tokens, parameters, symbols, tail)?;
                for (d, &parameters) in parameters.as_chunks().0.iter().enumerate() {
                    channels.decode(parameters, shape.channel_mut(plane, head, d))?;
                }
                channels.finish()?;
            }
        }
    }
    Ok(())
}

fn copy_head<'p>(shape: &PlaneShape, mut elements: Cursor<'_>, head: impl Iterator<Item = &'p mut [u8]>) -> Result<()> {
    for token in head {
        token.copy_from_slice(elements.take(shape.head_bytes(), "a token's elements")?);
    }
    elements.finish_padding(ALIGNMENT)
}

/// The channels of a tile that are still to decode.
struct Channels<'a, E> {
    symbols: Decoder<'a>,
    raw: Cursor<'a>,
    escapes: Cursor<'a>,
    exponents: Vec<u8>,
    raw_bits: Vec<u32>,
    element: std::marker::PhantomData<E>,
}

impl<'a, E: Element> Channels<'a, E> {
    fn new(num_tokens: usize, parameters: &[u8], symbols: Decoder<'a>, mut tail: Cursor<'a>) -> Result<Self> {
        let with_raw = parameters.as_chunks().0.iter().filter(|&&[code, _]| code != ChannelCoding::ZERO).count();
        let raw = tail.split(with_raw.saturating_mul(raw_bytes::<E>(num_tokens)), "the raw bits of a tile")?;
        Ok(Self {
            symbols,
            raw,
            escapes: tail,
            exponents: vec![0; num_tokens],
            raw_bits: vec![0; num_tokens],
            element: std::marker::PhantomData,
        })
    }

    /// Decodes the next channel into the elements of its tokens.
    fn decode<'p>(
        &mut self,
        parameters: [u8; PARAMETER_BYTES],
        elements: impl Iterator<Item = &'p mut [u8]>,
    ) -> Result<()> {
        let coding = ChannelCoding::from_parameters(parameters)
            .ok_or_else(|| self.escapes.corrupt(format!("channel parameters {parameters:?} have no meaning")))?;
        self.decode_exponents(coding)?;
        match coding {
            ChannelCoding::Zero => self.raw_bits.fill(0),
            ChannelCoding::Constant { .. } | ChannelCoding::Window { .. } => self.unpack_raw_bits()?,
        }
        for (element, (&exponent, &raw)) in elements.zip(self.exponents.iter().zip(&self.raw_bits)) {
            E::store(E::join(exponent, raw), element);
        }
        Ok(())
    }

    fn decode_exponents(&mut self, coding: ChannelCoding) -> Result<()> {
        match (coding, coding.model()) {
            (ChannelCoding::Window { top, .. }, Some(model)) => {
                self.symbols.channel(model, &mut self.exponents)?;
                replace_symbols(&mut self.exponents, top, &mut self.escapes)?;
            }
            (ChannelCoding::Constant { exponent }, _) => self.exponents.fill(exponent),
            _ => self.exponents.fill(0),
        }
        match self.exponents.iter().max() {
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

    /// Checks that everything was used.
    fn finish(self) -> Result<()> {
        self.symbols.finish()?;
        self.escapes.finish_padding(ALIGNMENT)
    }
}

/// Bytes of the raw bits of one channel.
fn raw_bytes<E: Element>(num_tokens: usize) -> usize {
    let row = bits::packed_bytes(LANES, E::RAW_BITS);
    let last_row = bits::packed_bytes(num_tokens % LANES, E::RAW_BITS);
    (num_tokens / LANES).saturating_mul(row).saturating_add(last_row)
}

fn replace_symbols(symbols: &mut [u8], top: u8, escapes: &mut Cursor<'_>) -> Result<()> {
    for symbol in symbols {
        *symbol = match *symbol {
            ESCAPE => escapes.u8("an escaped exponent")?,
            distance => top.checked_sub(distance).ok_or_else(|| below_zero(top, distance, escapes))?,
        };
    }
    Ok(())
}

fn below_zero(top: u8, distance: u8, escapes: &Cursor<'_>) -> Error {
    escapes.corrupt(format!("an exponent lies {distance} below the top {top}"))
}
