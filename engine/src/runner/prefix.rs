//! Prefixes: tokens from position 0 and their KV, computed here or brought from elsewhere.

use std::ops::Range;
use std::time::Instant;

use kvdepot_codec::KvChunk;

use super::{Pace, Runner, step_alone};
use crate::kv::{Sequence, check_held};
use crate::model::WantedLogits;
use crate::{Error, Result};

/// Tokens from position 0, with their KV. Dropping it frees its pages, but for those that requests still use.
#[derive(Debug, Default)]
pub struct Prefix {
    pub(super) tokens: Vec<u32>,
    pub(super) sequence: Sequence,
}

impl Prefix {
    /// The tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

impl Runner {
    /// Appends `tokens` to a prefix, [`Settings::step_tokens`](super::Settings::step_tokens) at a time, and calls
    /// `on_step` after each step with the prefix so far: its finished tokens may be exported there.
    ///
    /// The KV of a token is the same, bit for bit, however its prefix was cut into calls and steps.
    ///
    /// # Errors
    /// `Invalid` for tokens outside the vocabulary or a context beyond the model's, `Busy` when the pool has no room;
    /// the prefix is then as it was.
    pub fn prefill(&self, prefix: &mut Prefix, tokens: &[u32], mut on_step: impl FnMut(&Prefix)) -> Result<Pace> {
        let context = prefix.tokens.len() + tokens.len();
        self.check_tokens(tokens, context)?;
        prefix.sequence.reserve(&self.pool, context)?;
        let mut pace = Pace::default();
        for chunk in tokens.chunks(self.settings.step_tokens.max(1)) {
            let started = Instant::now();
            step_alone(&self.model, &mut prefix.sequence, chunk, WantedLogits::None);
            prefix.tokens.extend_from_slice(chunk);
            pace.count(chunk.len(), started.elapsed());
            on_step(prefix);
        }
        Ok(pace)
    }

    /// A prefix from KV that was computed before: `chunks` in order from position 0, which together hold `tokens`.
    ///
    /// What it goes on with is the same, bit for bit, as after computing it here, if the chunks hold what
    /// [`Self::export`] gave.
    ///
    /// # Errors
    /// `Invalid` when a chunk's geometry is not this model's, when the chunks hold another number of tokens, or as in
    /// [`Self::prefill`]; `Busy` when the pool has no room.
    pub fn import(&self, tokens: &[u32], chunks: &[KvChunk]) -> Result<Prefix> {
        check_held(tokens.len(), chunks)?;
        self.check_tokens(tokens, tokens.len())?;
        let mut prefix = Prefix::default();
        prefix.sequence.reserve(&self.pool, tokens.len())?;
        let mut rest = tokens;
        for chunk in chunks {
            let (of_chunk, after) = rest.split_at(chunk.num_tokens());
            self.append(&mut prefix, of_chunk, chunk)?;
            rest = after;
        }
        Ok(prefix)
    }

    /// Appends tokens to a prefix whose KV was computed before.
    ///
    /// # Errors
    /// As [`Self::import`]; the prefix is then as it was.
    pub fn append(&self, prefix: &mut Prefix, tokens: &[u32], chunk: &KvChunk) -> Result<()> {
        if chunk.num_tokens() != tokens.len() {
            let held = chunk.num_tokens();
            return Err(Error::Invalid(format!("a chunk holds {held} tokens where {} are named", tokens.len())));
        }
        self.check_tokens(tokens, prefix.tokens.len() + tokens.len())?;
        prefix.sequence.import(&self.pool, chunk, 0..chunk.num_tokens())?;
        prefix.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Keeps the first `num_tokens` tokens of a prefix, or all where it has no more.
    ///
    /// # Errors
    /// `Busy` when the pool has no room for the copy of a page that is kept in part; the prefix is then as it was.
    pub fn truncate(&self, prefix: &mut Prefix, num_tokens: usize) -> Result<()> {
        if num_tokens < prefix.tokens.len() {
            prefix.sequence = prefix.sequence.fork(&self.pool, num_tokens, num_tokens)?;
            prefix.tokens.truncate(num_tokens);
        }
        Ok(())
    }

    /// Copies out the KV of a range of a prefix's tokens.
    ///
    /// # Errors
    /// `Invalid` when the range is empty, longer than [`KvChunk::MAX_TOKENS`], or beyond the prefix.
    pub fn export(&self, prefix: &Prefix, tokens: Range<usize>) -> Result<KvChunk> {
        prefix.sequence.export(self.pool.layout(), tokens)
    }
}
