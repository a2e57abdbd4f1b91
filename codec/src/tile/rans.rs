//! The entropy coder: 32 interleaved rANS coders, lanes along tokens.
//!
//! A row is up to 32 consecutive tokens of one channel, one token per lane, all under the same model. The lanes share
//! one stream of 16-bit words; within a row they refill in lane order. A short row leaves its upper lanes as they are.
//! Source: Duda, "Asymmetric numeral systems" (arXiv:1311.2540), range variant; Giesen, "Interleaved entropy coders"
//! (arXiv:1402.3392).
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

use crate::Result;
use crate::cursor::Cursor;
use crate::model::{Model, PROBABILITY_BITS};

/// Most tokens of a row, and coders of a tile.
pub(crate) const LANES: usize = 32;
/// Lower end of the interval of states, and the state that encoding starts from.
pub(crate) const STATE_FLOOR: u32 = 1 << 16;
const WORD_BITS: u32 = 16;
/// Bytes of a lane's state in a tile.
pub(crate) const STATE_BYTES: usize = 4;
/// Bytes of a word in a tile.
pub(crate) const WORD_BYTES: usize = 2;

/// States and words from which a [`Decoder`] gives back the symbols.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) states: [u32; LANES],
    pub(crate) words: Vec<u16>,
}

/// Encodes channel after channel: each its model and its symbols, token by token.
pub(crate) fn encode<'a>(channels: impl DoubleEndedIterator<Item = (&'a Model, &'a [u8])>) -> Stream {
    let mut stream = Stream { states: [STATE_FLOOR; LANES], words: Vec::new() };
    // What is encoded last is decoded first.
    for (model, symbols) in channels.rev() {
        for row in symbols.chunks(LANES).rev() {
            stream.push_row(model, row);
        }
    }
    stream.words.reverse();
    stream
}

impl Stream {
    fn push_row(&mut self, model: &Model, row: &[u8]) {
        for (state, &symbol) in self.states.iter_mut().zip(row).rev() {
            *state = push_symbol(*state, model, symbol, &mut self.words);
        }
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "freq is at least 1, and state / freq < 2^20 once a word is out")]
#[expect(clippy::cast_possible_truncation, reason = "a word is the low end of the state")]
fn push_symbol(state: u32, model: &Model, symbol: u8, words: &mut Vec<u16>) -> u32 {
    let slice = model.slice(symbol);
    let mut state = state;
    if state >> (u32::BITS - PROBABILITY_BITS) >= slice.freq {
        words.push(state as u16);
        state >>= WORD_BITS;
    }
    (state / slice.freq) << PROBABILITY_BITS | (slice.start + state % slice.freq)
}

/// Gives back the symbols of a stream, channel after channel.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    states: [u32; LANES],
    num_lanes: usize,
    words: &'a [[u8; WORD_BYTES]],
    offset: usize,
}

impl<'a> Decoder<'a> {
    /// Takes `num_lanes` states, then `num_words` words.
    pub(crate) fn parse(bytes: &mut Cursor<'a>, num_lanes: usize, num_words: usize) -> Result<Self> {
        let mut states = [STATE_FLOOR; LANES];
        for state in states.iter_mut().take(num_lanes) {
            *state = bytes.u32("a lane's state")?;
            if *state < STATE_FLOOR {
                return Err(bytes.corrupt(format!("a lane starts at {state:#x}, below {STATE_FLOOR:#x}")));
            }
        }
        let offset = bytes.offset();
        let words = bytes.take(num_words.saturating_mul(WORD_BYTES), "the words of a tile")?;
        Ok(Self { states, num_lanes, words: words.as_chunks().0, offset })
    }

    /// Decodes the next channel, one symbol per token.
    pub(crate) fn channel(&mut self, model: &Model, symbols: &mut [u8]) -> Result<()> {
        self.check_lanes(symbols.len())?;
        for row in symbols.chunks_mut(LANES) {
            self.row(model, row).ok_or_else(|| self.ends_early())?;
        }
        Ok(())
    }

    /// Checks that there are lanes for channels of `num_tokens` tokens.
    pub(crate) fn check_lanes(&self, num_tokens: usize) -> Result<()> {
        if num_tokens.min(LANES) > self.num_lanes {
            return Err(self.corrupt(format!("{num_tokens} tokens are coded in {} lanes", self.num_lanes)));
        }
        Ok(())
    }

    /// The lanes' states.
    pub(crate) fn states_mut(&mut self) -> &mut [u32; LANES] {
        &mut self.states
    }

    /// The words that are left.
    pub(crate) fn words(&self) -> &'a [[u8; WORD_BYTES]] {
        self.words
    }

    /// Counts the first `num_words` words that are left as read.
    pub(crate) fn advance(&mut self, num_words: usize) -> Result<()> {
        self.words = self.words.get(num_words..).ok_or_else(|| self.ends_early())?;
        Ok(())
    }

    fn ends_early(&self) -> crate::Error {
        self.corrupt("the words end before the symbols")
    }

    /// Decodes one row; nothing when the words run out.
    fn row(&mut self, model: &Model, row: &mut [u8]) -> Option<()> {
        for (state, symbol) in self.states.iter_mut().zip(row) {
            let slot = model.slot(*state);
            *symbol = slot.symbol();
            // At most freq * 2^20, and freq is below 2^12.
            let next = slot.freq().wrapping_mul(*state >> PROBABILITY_BITS).wrapping_add(slot.place());
            *state = if next < STATE_FLOOR {
                let (word, rest) = self.words.split_first()?;
                self.words = rest;
                next << WORD_BITS | u32::from(u16::from_le_bytes(*word))
            } else {
                next
            };
        }
        Some(())
    }

    /// Checks that the stream is used up: no word is left, and every lane is where its encoder started.
    pub(crate) fn finish(self) -> Result<()> {
        let words_left = self.words.len();
        if words_left != 0 || self.states.iter().any(|&state| state != STATE_FLOOR) {
            return Err(self.corrupt(format!("{words_left} words are left, or a lane ends off its start")));
        }
        Ok(())
    }

    fn corrupt(&self, reason: impl Into<String>) -> crate::Error {
        crate::Error::corrupt(self.offset, reason)
    }
}

#[cfg(test)]
mod tests;
