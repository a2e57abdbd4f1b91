//! A request on its way.

use std::ops::Deref;

use super::{Completion, FinishReason, Request};
use crate::Result;
use crate::kv::Sequence;
use crate::sample::most_probable;

/// A request that has pages; `R` borrows or owns it.
#[derive(Debug)]
pub(super) struct Member<R> {
    pub(super) request: R,
    pub(super) sequence: Sequence,
    /// Tokens to compute next: what is left of the context, then each chosen token.
    pub(super) pending: Vec<u32>,
    pub(super) completion: Completion,
    pub(super) is_finished: bool,
}

impl<R: Deref<Target = Request>> Member<R> {
    pub(super) fn new(request: R, sequence: Sequence, pending: Vec<u32>) -> Self {
        Self { request, sequence, pending, completion: Completion::default(), is_finished: false }
    }

    /// Drops tokens that were computed; if they were the last that are known, chooses the next one by `logits`. Gives whether it did.
    ///
    /// # Errors
    /// `Corrupt` when logits are not numbers.
    pub(super) fn advance<'l>(&mut self, computed: usize, logits: impl FnOnce() -> &'l [f32]) -> Result<bool> {
        self.pending.drain(..computed);
        if self.pending.is_empty() {
            self.push(logits())?;
            return Ok(true);
        }
        Ok(false)
    }

    fn push(&mut self, logits: &[f32]) -> Result<()> {
        let choice = self.request.sampling.choose(logits, self.completion.tokens.len())?;
        self.completion.tokens.push(choice.token);
        self.completion.logprobs.push(choice.logprob);
        if self.request.top_logprobs > 0 {
            self.completion.top_logprobs.push(most_probable(logits, self.request.top_logprobs));
        }
        self.pending.push(choice.token);
        if self.request.stop_tokens.contains(&choice.token) {
            self.stop();
        } else if self.completion.tokens.len() == self.request.max_tokens {
            self.finish();
        }
        Ok(())
    }

    /// Ends the request with the tokens that it has.
    pub(super) fn stop(&mut self) {
        self.completion.finish_reason = FinishReason::Stop;
        self.finish();
    }

    fn finish(&mut self) {
        self.is_finished = true;
        // Its pages serve others from here on.
        self.sequence = Sequence::default();
    }
}
