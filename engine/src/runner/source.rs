//! Where KV comes from that is not computed here, and where computed KV may go.

use std::ops::Range;
use std::time::Duration;

use kvdepot_codec::KvChunk;

use super::Runner;
use crate::Result;
use crate::kv::Sequence;

/// KV of contexts, kept elsewhere. A batch names what it will need ahead of its turn, looks at what has come, and computes
/// what does not come: nothing here can fail a batch.
pub trait KvSource {
    /// Leading tokens of each context whose KV is there.
    fn stored_tokens(&mut self, contexts: &[&[u32]]) -> Vec<usize>;

    /// Whether more may be brought ahead of its turn.
    fn has_room(&self) -> bool;

    /// Brings KV, which [`Self::poll`] will ask for or [`Self::forget`] call off. Loads begin in the order in which they are needed.
    fn begin(&mut self, load: Load<'_>);

    /// What has come of a load. Its tokens before position `held_tokens` are there and not needed any more.
    fn poll(&mut self, prefix: usize, held_tokens: usize) -> Arrival;

    /// Waits until more of a load has come, for at most so long.
    fn wait(&mut self, prefix: usize, most: Duration);

    /// A load is not needed any more.
    fn forget(&mut self, prefix: usize);

    /// KV was computed that several requests share: it may be kept.
    fn offer(&mut self, computed: Computed<'_>);
}

/// KV to bring.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// Names it: the prefix of the plan.
    pub prefix: usize,
    /// A stored context, from position 0, that begins with the tokens wanted.
    pub context: &'a [u32],
    /// Positions of the tokens wanted.
    pub start: usize,
    /// The position behind the last of them.
    pub end: usize,
}

/// What has come of a load.
#[derive(Debug)]
pub enum Arrival {
    /// Something is missing between what is held and what has come. It will take so long, if that is known.
    Pending(Option<Duration>),
    /// All that will come: chunks in order, the first of which holds the token after those held. None of them where the load failed.
    Ready(Vec<LoadedChunk>),
}

/// Tokens whose KV was brought.
#[derive(Debug)]
pub struct LoadedChunk {
    /// Position of its first token.
    pub start: usize,
    /// Their KV.
    pub kv: KvChunk,
}

/// A prefix whose KV is complete, some of it computed.
pub struct Computed<'a> {
    /// Tokens from position 0.
    pub tokens: &'a [u32],
    /// Leading tokens that a source had.
    pub stored_tokens: usize,
    /// Whether some of the KV was brought from a source.
    pub is_built_on_loaded: bool,
    pub(super) runner: &'a Runner,
    pub(super) sequence: &'a Sequence,
}

impl Computed<'_> {
    /// Copies out the KV of a range of the tokens.
    ///
    /// # Errors
    /// As [`Runner::export`].
    pub fn export(&self, tokens: Range<usize>) -> Result<KvChunk> {
        self.sequence.export(self.runner.pool.layout(), tokens)
    }
}

/// Nothing is there, and nothing is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSource;

impl KvSource for NoSource {
    fn stored_tokens(&mut self, contexts: &[&[u32]]) -> Vec<usize> {
        vec![0; contexts.len()]
    }

    fn has_room(&self) -> bool {
        false
    }

    fn begin(&mut self, _: Load<'_>) {}

    fn poll(&mut self, _: usize, _: usize) -> Arrival {
        Arrival::Ready(Vec::new())
    }

    fn wait(&mut self, _: usize, _: Duration) {}

    fn forget(&mut self, _: usize) {}

    fn offer(&mut self, _: Computed<'_>) {}
}
