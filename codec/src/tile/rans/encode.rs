//! The encoder, plainly: the oracle of the vector paths, and what they do not take.
#![allow(clippy::indexing_slicing, reason = "symbols and models are the encoder's own")]

use super::{LANES, STATE_FLOOR, TOKENS, WORD_BITS};
use crate::model::{Model, PROBABILITY_BITS};

/// Words that vectors may write before the first one.
const SLACK_WORDS: usize = LANES;

/// Encodes rows, the last one first.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(super) states: [u32; LANES],
    /// Written from the end to the start.
    words: Vec<u16>,
    start: usize,
    num_lanes: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Encoder {
    /// An encoder of at most `num_symbols` symbols in rows of channels of `num_tokens` tokens.
    pub(crate) fn new(num_symbols: usize, num_tokens: usize) -> Self {
        let room = SLACK_WORDS.saturating_add(num_symbols);
        Self { states: [STATE_FLOOR; LANES], words: vec![0; room], start: room, num_lanes: num_tokens.min(LANES) }
    }

    /// Forgets all rows.
    pub(crate) fn restart(&mut self) {
        (self.states, self.start) = ([STATE_FLOOR; LANES], self.words.len());
    }

    /// Puts a row before those that are there.
    pub(crate) fn push_row(&mut self, model: &Model, row: &[u8]) {
        for lane in (0..LANES).rev() {
            if let Some(&symbol) = row.get(TOKENS[lane]) {
                self.push_symbol(lane, model, symbol);
            }
        }
    }

    #[expect(
        clippy::arithmetic_side_effects,
        reason = "freq is at least 1, and state / freq < 2^24 once a word is out"
    )]
    #[expect(clippy::cast_possible_truncation, reason = "a word is the low end of the state")]
    fn push_symbol(&mut self, lane: usize, model: &Model, symbol: u8) {
        let (start, freq) = model.slice(symbol);
        let mut state = self.states[lane];
        if state >> (u32::BITS - PROBABILITY_BITS) >= freq {
            self.start -= 1;
            self.words[self.start] = state as u16;
            state >>= WORD_BITS;
        }
        self.states[lane] = (state / freq) << PROBABILITY_BITS | (start + state % freq);
    }

    /// States, words, and where the first word is: at least [`SLACK_WORDS`] and as many words from the start as there
    /// are symbols to come.
    pub(crate) fn parts_mut(&mut self) -> (&mut [u32; LANES], &mut [u16], &mut usize) {
        (&mut self.states, &mut self.words, &mut self.start)
    }

    /// The states that are stored: those of coders that have a token.
    pub(crate) fn states(&self) -> impl Iterator<Item = u32> {
        let lanes = TOKENS.iter().zip(&self.states).filter(|&(&token, _)| token < self.num_lanes);
        lanes.map(|(_, &state)| state)
    }

    /// The words, in the order of reading.
    pub(crate) fn words(&self) -> &[u16] {
        self.words.get(self.start..).unwrap_or_default()
    }
}
