//! What is measured on: a context, and what follows it.

/// Sizes of a passage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Tokens of the context: exactly so many in a text, at most so many in a task.
    pub(super) context_tokens: usize,
    /// Tokens of the continuation, likewise.
    pub(super) continue_tokens: usize,
}

impl Shape {
    /// Tokens of both.
    pub(super) fn num_tokens(self) -> usize {
        self.context_tokens.saturating_add(self.continue_tokens)
    }
}

/// A context whose KV is coded, and the tokens that follow it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Passage {
    pub(super) context: Vec<u32>,
    pub(super) continuation: Vec<u32>,
    pub(super) task: Task,
}

/// What a passage is scored on.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Task {
    /// On every token of the continuation.
    Text,
    /// On those at these indices of the continuation: they are to be looked up in the context.
    Retrieval { answers: Vec<usize> },
}
