//! Continuations that are given instead of chosen: what the model expects of each of their tokens.

use super::{Prefix, Runner, step_alone};
use crate::model::WantedLogits;
use crate::rows::Rows;
use crate::sample::check_logits;
use crate::{Error, Result};

/// What the model expects of each token of a continuation: `[tokens, vocab]`, f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    rows: Rows,
}

impl Logits {
    pub(super) fn new(rows: Rows) -> Self {
        Self { rows }
    }

    /// Tokens of the continuation.
    pub fn num_tokens(&self) -> usize {
        self.rows.num_rows()
    }

    /// Logits of what token `idx` may be, given all tokens before it: `[vocab]`.
    ///
    /// # Panics
    /// When `idx` is not below [`Self::num_tokens`].
    pub fn row(&self, idx: usize) -> &[f32] {
        self.rows.row(idx)
    }
}

impl Runner {
    /// Logits of each of `tokens`, given `prefix` and those of `tokens` before it (teacher forcing).
    ///
    /// As when decoding, the prefix's last token is computed again, over the KV of those before it: its logits are the
    /// first. Each row is the same, bit for bit, however many tokens follow.
    ///
    /// # Errors
    /// `Invalid` for an empty prefix or no tokens, and as in [`Self::prefill`]; `Busy` when the pool has no room;
    /// `Corrupt` when logits are not numbers.
    pub fn continuation_logits(&self, prefix: &Prefix, tokens: &[u32]) -> Result<Logits> {
        let context = prefix.tokens.len();
        if context == 0 || tokens.is_empty() {
            return Err(Error::Invalid(format!(
                "{} tokens that continue {context}: both must be at least 1",
                tokens.len()
            )));
        }
        let end = context + tokens.len() - 1;
        self.check_tokens(tokens, end)?;
        let mut sequence = prefix.sequence.fork(&self.pool, context - 1, end)?;
        let inputs = [&prefix.tokens[context - 1..], &tokens[..tokens.len() - 1]].concat();
        let mut rows = Rows::zeroed(0, self.model.config().vocab_size);
        for piece in inputs.chunks(self.settings.step_tokens.max(1)) {
            rows.append(step_alone(&self.model, &mut sequence, piece, WantedLogits::Every));
        }
        (0..rows.num_rows()).try_for_each(|idx| check_logits(rows.row(idx)))?;
        Ok(Logits::new(rows))
    }
}
