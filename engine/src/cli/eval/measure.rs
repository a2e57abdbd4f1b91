//! The measurement: every passage over its exact cache, and over what each scheme makes of that.

use std::ops::AddAssign;

use kvdepot_codec::KvChunk;
use kvdepot_engine::{Logits, Prefix, Runner};
use rayon::prelude::*;

use super::passage::{Passage, Task};
use super::scheme::{Coded, Scheme};
use super::score::{RetrievalScore, TextScore};

/// Sums over passages. Bytes count for texts only: the contexts of tasks are no natural ones.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) bytes: u64,
    pub(super) text: TextScore,
    pub(super) retrieval: RetrievalScore,
}

/// What a measurement came to.
pub(super) struct Measured {
    /// Over the exact cache, whose bytes are those in memory.
    pub(super) exact: Tally,
    /// One per scheme, in order.
    pub(super) schemes: Vec<Tally>,
}

/// Measures every passage; `on_pass` is called after each of them over the exact cache and over each scheme's.
///
/// The passages are taken one by one and the schemes side by side, so that memory holds one exact cache at a time; sums
/// are in the order of the passages, whatever the number of threads.
pub(super) fn measure(
    runner: &Runner,
    passages: &[Passage],
    schemes: &[Box<dyn Scheme>],
    chunk_tokens: usize,
    on_pass: impl Fn() + Sync,
) -> anyhow::Result<Measured> {
    let mut measured = Measured { exact: Tally::default(), schemes: vec![Tally::default(); schemes.len()] };
    for passage in passages {
        let exact = Exact::compute(runner, passage, chunk_tokens)?;
        measured.exact += exact.tally(exact.raw_bytes(), &exact.logits);
        on_pass();
        let over = |scheme: &dyn Scheme| {
            let tally = exact.over(runner, scheme)?;
            on_pass();
            Ok(tally)
        };
        let tallies: Vec<Tally> = schemes.par_iter().map(|scheme| over(&**scheme)).collect::<anyhow::Result<_>>()?;
        measured.schemes.iter_mut().zip(tallies).for_each(|(sum, tally)| *sum += tally);
    }
    Ok(measured)
}

/// A passage over its exact cache.
struct Exact<'a> {
    passage: &'a Passage,
    /// KV of the context.
    chunks: Vec<KvChunk>,
    /// Of the continuation.
    logits: Logits,
}

impl<'a> Exact<'a> {
    fn compute(runner: &Runner, passage: &'a Passage, chunk_tokens: usize) -> anyhow::Result<Self> {
        let mut prefix = Prefix::default();
        runner.prefill(&mut prefix, &passage.context, |_| {})?;
        let num_tokens = passage.context.len();
        let starts = (0..num_tokens).step_by(chunk_tokens);
        let chunks = starts.map(|start| runner.export(&prefix, start..num_tokens.min(start + chunk_tokens)));
        Ok(Self {
            passage,
            chunks: chunks.collect::<Result<_, _>>()?,
            logits: runner.continuation_logits(&prefix, &passage.continuation)?,
        })
    }

    /// Codes the context's KV, and continues over what comes back.
    fn over(&self, runner: &Runner, scheme: &dyn Scheme) -> anyhow::Result<Tally> {
        let Coded { bytes, chunks } = scheme.code(&self.chunks)?;
        let prefix = runner.import(&self.passage.context, &chunks)?;
        drop(chunks);
        Ok(self.tally(bytes, &runner.continuation_logits(&prefix, &self.passage.continuation)?))
    }

    fn raw_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes().len() as u64).sum()
    }

    fn tally(&self, bytes: u64, logits: &Logits) -> Tally {
        let tokens = &self.passage.continuation;
        match &self.passage.task {
            Task::Text => Tally { bytes, text: TextScore::new(&self.logits, logits, tokens), ..Tally::default() },
            Task::Retrieval { answers } => {
                Tally { retrieval: RetrievalScore::new(logits, tokens, answers), ..Tally::default() }
            }
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.text += other.text;
        self.retrieval += other.retrieval;
    }
}
