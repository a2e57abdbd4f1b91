//! What a group's requests came to, and how fast.

use std::time::Duration;

use crate::AttentionWork;
use crate::sample::Choice;

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FinishReason {
    /// A stop token was chosen.
    Stop,
    /// [`Request::max_tokens`](super::Request::max_tokens) were chosen.
    #[default]
    Length,
}

impl FinishReason {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// One request's tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completion {
    /// Chosen tokens; a stop token is the last.
    pub tokens: Vec<u32>,
    /// Natural logarithm of each token's probability under the raw logits.
    pub logprobs: Vec<f32>,
    /// At each token [`Request::top_logprobs`](super::Request::top_logprobs) of the most probable ones, those first; none where none
    /// were asked for.
    pub top_logprobs: Vec<Vec<Choice>>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// What a group came to.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupReport {
    /// One per request, in order.
    pub completions: Vec<Completion>,
    /// Steps that computed suffix tokens, and those tokens.
    pub suffixes: Pace,
    /// Steps that only decoded, and the tokens they gave.
    pub decode: Pace,
    /// Attention of the steps that only decoded, if the model served no one else meanwhile.
    pub decode_attention: AttentionWork,
}

/// Work done, and the time it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Steps.
    pub steps: usize,
    /// Tokens.
    pub tokens: usize,
    /// Time.
    pub elapsed: Duration,
}

impl Pace {
    /// Tokens per second; 0 when nothing was done.
    pub fn tokens_per_sec(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.tokens as f64 / self.elapsed.as_secs_f64().max(1e-9) }
    }

    pub(super) fn count(&mut self, tokens: usize, elapsed: Duration) {
        self.steps += 1;
        self.tokens += tokens;
        self.elapsed += elapsed;
    }
}
