//! Tiles: one kv head of one plane, the unit of entropy coding. Layout in `FORMAT.md`, "Tile".
//!
//! This module owns the frame that all levels share; what a channel's parameters, the raw bits and the escapes mean is
//! the level's.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

pub(crate) mod bits;
pub(crate) mod index;
pub(crate) mod rans;

use crate::Result;
use crate::cursor::Cursor;
use rans::{Decoder, Encoder, LANES, STATE_BYTES, WORD_BYTES};

/// Tiles, and the parts of one that are read as words, lie on multiples of this.
pub(crate) const ALIGNMENT: usize = 4;
/// Bytes before a tile's parameters.
pub(crate) const HEADER_BYTES: usize = 8;

const VERBATIM: u8 = 0;
const CODED: u8 = 1;

/// The parts of a coded tile, to write.
#[derive(Debug)]
pub(crate) struct CodedTile<'a> {
    /// Parameters of each channel.
    pub(crate) parameters: &'a [u8],
    /// Whether any channel has symbols.
    pub(crate) has_states: bool,
    /// The symbols.
    pub(crate) stream: &'a Encoder,
    /// Raw bits, row by row.
    pub(crate) raw: &'a [u8],
    /// Values outside of their channel's alphabet.
    pub(crate) escapes: &'a [u8],
}

impl CodedTile<'_> {
    /// Bytes that [`Self::write`] appends.
    pub(crate) fn encoded_bytes(&self) -> usize {
        coded_bytes(
            self.parameters.len(),
            if self.has_states { self.stream.states().count() } else { 0 },
            self.stream.words().len(),
            self.raw.len().saturating_add(self.escapes.len()),
        )
    }

    /// Appends the tile.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write_header(CODED, self.has_states, self.stream.words().len(), out);
        out.extend_from_slice(self.parameters);
        pad(out);
        if self.has_states {
            out.extend(self.stream.states().flat_map(u32::to_le_bytes));
        }
        write_words(self.stream.words(), out);
        out.extend_from_slice(self.raw);
        out.extend_from_slice(self.escapes);
        pad(out);
    }
}

/// Appends a tile that holds its elements as they are: `[token][head_dim]`.
pub(crate) fn write_verbatim<'a>(head: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    write_header(VERBATIM, false, 0, out);
    head.for_each(|elements| out.extend_from_slice(elements));
    pad(out);
}

fn write_words(words: &[u16], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start.saturating_add(words.len().saturating_mul(WORD_BYTES)), 0);
    let room = out.get_mut(start..).unwrap_or_default().as_chunks_mut().0;
    room.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
}

fn write_header(coding: u8, has_states: bool, num_words: usize, out: &mut Vec<u8>) {
    let num_words = u32::try_from(num_words).expect("at most a word per element, which a segment's bound limits");
    out.extend_from_slice(&[coding, u8::from(has_states), 0, 0]);
    out.extend_from_slice(&num_words.to_le_bytes());
}

/// Appends zeros up to a multiple of [`ALIGNMENT`].
pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

/// Bytes of a coded tile whose parts have the sizes given; `tail_bytes` are raw bits and escapes.
pub(crate) const fn coded_bytes(
    parameter_bytes: usize,
    num_tokens: usize,
    num_words: usize,
    tail_bytes: usize,
) -> usize {
    let states = if num_tokens < LANES { num_tokens } else { LANES };
    HEADER_BYTES
        .saturating_add(parameter_bytes.next_multiple_of(ALIGNMENT))
        .saturating_add(states.saturating_mul(STATE_BYTES))
        .saturating_add(num_words.saturating_mul(WORD_BYTES))
        .saturating_add(tail_bytes)
        .next_multiple_of(ALIGNMENT)
}

/// Bytes of a tile that holds `head_bytes` bytes of elements as they are.
pub(crate) const fn verbatim_bytes(head_bytes: usize) -> usize {
    HEADER_BYTES.saturating_add(head_bytes).next_multiple_of(ALIGNMENT)
}

/// A tile as read.
#[derive(Debug)]
pub(crate) enum Tile<'a> {
    /// Elements as they are, `[token][head_dim]`, and padding.
    Verbatim(Cursor<'a>),
    /// Symbols under models.
    Coded {
        /// Parameters of each channel.
        parameters: &'a [u8],
        /// The symbols.
        symbols: Decoder<'a>,
        /// Raw bits, escapes and padding.
        tail: Cursor<'a>,
    },
}

impl<'a> Tile<'a> {
    /// Reads the frame of a tile whose channels have `parameter_bytes` bytes of parameters in all, of `num_tokens` tokens.
    pub(crate) fn parse(mut bytes: Cursor<'a>, parameter_bytes: usize, num_tokens: usize) -> Result<Self> {
        let [coding, has_states, reserved @ ..] = bytes.array::<4>("a tile's header")?;
        let num_words = bytes.u32("a tile's number of words")?;
        match (coding, has_states) {
            _ if reserved != [0; 2] => Err(bytes.corrupt(format!("reserved bytes of a tile are {reserved:?}"))),
            (VERBATIM, 0) if num_words == 0 => Ok(Self::Verbatim(bytes)),
            (CODED, 0 | 1) => {
                let mut parameters =
                    bytes.split(parameter_bytes.next_multiple_of(ALIGNMENT), "the parameters of a tile's channels")?;
                let values = parameters.take(parameter_bytes, "the parameters of a tile's channels")?;
                parameters.finish_padding(ALIGNMENT)?;
                let symbols = Decoder::parse(&mut bytes, has_states == 1, num_tokens, num_words as usize)?;
                Ok(Self::Coded { parameters: values, symbols, tail: bytes })
            }
            _ => Err(bytes.corrupt(format!("tile coding {coding} with states {has_states} and {num_words} words"))),
        }
    }

    /// Bytes that stand for elements: words, raw bits, escapes, and elements as they are. Zeros that may be padding are
    /// taken for it.
    pub(crate) fn payload_bytes(&self) -> usize {
        let (words_bytes, tail) = match self {
            Self::Verbatim(elements) => (0, elements),
            Self::Coded { symbols, tail, .. } => (symbols.words_bytes(), tail),
        };
        let tail = tail.clone().take_rest();
        let padding = tail.iter().rev().take(ALIGNMENT.saturating_sub(1)).take_while(|&&byte| byte == 0).count();
        words_bytes.saturating_add(tail.len().saturating_sub(padding))
    }
}
