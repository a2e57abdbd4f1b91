//! The entropy coder: 32 interleaved rANS coders, lanes along tokens.
//!
//! A row is up to 32 consecutive tokens of one channel, all under the same model, one coder for each. The coders share
//! one stream of 16-bit words; within a row they refill in the order of their numbers. Coders whose token is beyond a
//! short row leave their states as they are.
//! Source: Duda, "Asymmetric numeral systems" (arXiv:1311.2540), range variant; Giesen, "Interleaved entropy coders"
//! (arXiv:1402.3392).
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)
)]

mod encode;

pub(crate) use encode::Encoder;

use crate::Result;
use crate::cursor::Cursor;
use crate::model::{Model, PROBABILITY_BITS};

/// Most tokens of a row, and coders of a tile.
pub(crate) const LANES: usize = 32;
/// Lower end of the interval of states, and the state that encoding starts from.
pub(crate) const STATE_FLOOR: u32 = 1 << 16;
const WORD_BITS: u32 = 16;
/// Bytes of a coder's state in a tile.
pub(crate) const STATE_BYTES: usize = 4;
/// Bytes of a word in a tile.
pub(crate) const WORD_BYTES: usize = 2;
/// Rows for which vectors look ahead at words at once.
pub(crate) const AHEAD_ROWS: usize = 8;
/// Most words that those rows use.
pub(crate) const AHEAD_WORDS: usize = AHEAD_ROWS * LANES;

/// The token of each row that coder `lane` codes: bytes that vectors take from the four quarters of 32 states lie in the
/// order of tokens.
#[expect(clippy::arithmetic_side_effects, reason = "coders have small numbers")]
pub(crate) const fn token_of(lane: usize) -> usize {
    4 * (lane % 8) + lane / 8
}

/// The token of each coder.
#[expect(clippy::indexing_slicing, reason = "computed while compiling")]
const TOKENS: [usize; LANES] = {
    let mut tokens = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        tokens[lane] = token_of(lane);
        lane += 1;
    }
    tokens
};

/// Gives back the symbols of a stream, row after row.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    states: [u32; LANES],
    num_lanes: usize,
    words: Words<'a>,
    offset: usize,
}

/// The words of a tile, and how many of them have been used: more than there are, where they ran out.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    words: &'a [[u8; WORD_BYTES]],
    next: usize,
}

impl<'a> Words<'a> {
    /// The words from `next` on that [`AHEAD_ROWS`] rows may use; behind the last one there are zeros, for which `tail` is
    /// room.
    pub(crate) fn ahead<'t>(
        &self,
        next: usize,
        tail: &'t mut [[u8; WORD_BYTES]; AHEAD_WORDS],
    ) -> &'t [[u8; WORD_BYTES]; AHEAD_WORDS]
    where
        'a: 't,
    {
        let ahead = self.words.get(next..).unwrap_or_default();
        ahead.first_chunk().unwrap_or_else(|| {
            tail.fill([0; WORD_BYTES]);
            tail.iter_mut().zip(ahead).for_each(|(to, word)| *to = *word);
            tail
        })
    }

    /// How many words have been used.
    pub(crate) fn next_word(&self) -> usize {
        self.next
    }

    /// Counts words as used, whether or not they were there.
    pub(crate) fn set_next_word(&mut self, next: usize) {
        self.next = next;
    }

    fn next(&mut self) -> Option<u32> {
        let word = self.words.get(self.next)?;
        self.next = self.next.saturating_add(1);
        Some(u32::from(u16::from_le_bytes(*word)))
    }
}

impl<'a> Decoder<'a> {
    /// Takes the states of channels of `num_tokens` tokens, then `num_words` words; without `has_states`, neither.
    pub(crate) fn parse(bytes: &mut Cursor<'a>, has_states: bool, num_tokens: usize, num_words: usize) -> Result<Self> {
        let num_lanes = if has_states { num_tokens.min(LANES) } else { 0 };
        let mut states = [STATE_FLOOR; LANES];
        for (state, _) in states.iter_mut().zip(TOKENS).filter(|&(_, token)| token < num_lanes) {
            *state = bytes.u32("a coder's state")?;
            if *state < STATE_FLOOR {
                return Err(bytes.corrupt(format!("a coder starts at {state:#x}, below {STATE_FLOOR:#x}")));
            }
        }
        let offset = bytes.offset();
        let words = bytes.take(num_words.saturating_mul(WORD_BYTES), "the words of a tile")?;
        Ok(Self { states, num_lanes, words: Words { words: words.as_chunks().0, next: 0 }, offset })
    }

    /// Checks that there are states, for a channel that has symbols.
    pub(crate) fn check_states(&self) -> Result<()> {
        if self.num_lanes == 0 {
            return Err(self.corrupt("a channel has symbols in a tile without states"));
        }
        Ok(())
    }

    /// States and words.
    pub(crate) fn parts_mut(&mut self) -> (&mut [u32; LANES], &mut Words<'a>) {
        (&mut self.states, &mut self.words)
    }

    /// Bytes of the words.
    pub(crate) fn words_bytes(&self) -> usize {
        self.words.words.as_flattened().len()
    }

    /// The words.
    pub(crate) fn words(&self) -> &Words<'a> {
        &self.words
    }

    /// Checks that no more words were used than there are.
    pub(crate) fn check_words(&self) -> Result<()> {
        if self.words.next > self.words.words.len() {
            return Err(self.corrupt("the words end before the symbols"));
        }
        Ok(())
    }

    /// Decodes the next row.
    pub(crate) fn row(&mut self, model: &Model, row: &mut [u8]) -> Result<()> {
        for (state, token) in self.states.iter_mut().zip(TOKENS) {
            let Some(symbol) = row.get_mut(token) else { continue };
            *symbol = model.symbol(*state);
            let (start, freq) = model.slice(*symbol);
            // At most freq * 2^24, and freq is below 2^8.
            let place = (*state & 0xff).wrapping_sub(start);
            let next = freq.wrapping_mul(*state >> PROBABILITY_BITS).wrapping_add(place);
            *state = match next {
                STATE_FLOOR.. => next,
                _ => match self.words.next() {
                    Some(word) => next << WORD_BITS | word,
                    None => return Err(self.corrupt("the words end before the symbols")),
                },
            };
        }
        Ok(())
    }

    /// Checks that the stream is used up: no word is left, and every coder is where its encoder started.
    pub(crate) fn finish(self) -> Result<()> {
        let words_left = self.words.words.len().wrapping_sub(self.words.next);
        // A fuzzer's changes hardly ever end well, and would not get to what is behind the symbols.
        let checked = !cfg!(fuzzing);
        if checked && (words_left != 0 || self.states.iter().any(|&state| state != STATE_FLOOR)) {
            return Err(self.corrupt(format!("{words_left} words are left, or a coder ends off its start")));
        }
        Ok(())
    }

    fn corrupt(&self, reason: impl Into<String>) -> crate::Error {
        crate::Error::corrupt(self.offset, reason)
    }
}

#[cfg(test)]
mod tests;
