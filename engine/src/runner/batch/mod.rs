//! Batches: many requests by one plan, each distinct prefix token computed once.

mod loading;
mod running;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::source::{Computed, KvSource};
use super::{Completion, Pace, Request, Runner, Sharing};
use crate::Result;
use crate::plan::{Limits, Plan, RequestShape};
use crate::simd::PAGE_TOKENS;
use running::Batch;

/// Who is told what a batch comes to.
pub trait BatchObserver {
    /// A request has one more token, the last of `completion`; where that breaks, it ends there as by a stop token.
    fn token(&mut self, request: usize, completion: &Completion) -> ControlFlow<()> {
        let _ = (request, completion);
        ControlFlow::Continue(())
    }

    /// The KV of a request's whole context is there, computed or reused. Not told by batches, which offer it to their source.
    fn prefilled(&mut self, request: usize, computed: Computed<'_>) {
        let _ = (request, computed);
    }

    /// A request is over.
    fn end(&mut self, ended: Ended);

    /// A step is over; where that breaks, nothing more begins, and what has begun is run to its end.
    fn step(&mut self, progress: Progress) -> ControlFlow<()> {
        let _ = progress;
        ControlFlow::Continue(())
    }
}

/// A request that is over.
#[derive(Debug)]
pub struct Ended {
    /// Its index in the batch.
    pub request: usize,
    /// Tokens of its context that were computed for others too, or loaded.
    pub reused_tokens: usize,
    /// What it came to.
    pub outcome: Result<Completion>,
}

/// How far a batch is, after a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests that are over.
    pub ended: usize,
    /// Requests that decode.
    pub decoding: usize,
    /// Tokens of prefill that were computed.
    pub prefilled_tokens: usize,
    /// Tokens of prefill whose KV was loaded.
    pub loaded_tokens: usize,
    /// Tokens that were decoded.
    pub decoded_tokens: usize,
    /// Bytes of KV in use.
    pub kv_bytes: usize,
}

/// What a batch came to.
#[derive(Debug, Clone, Default)]
pub struct BatchReport {
    /// Tokens of all contexts.
    pub total_tokens: usize,
    /// Tokens of prefill that were computed.
    pub prefilled_tokens: usize,
    /// Tokens of prefill whose KV was loaded.
    pub loaded_tokens: usize,
    /// Most bytes of KV that were in use.
    pub peak_kv_bytes: usize,
    /// Time that planning took, without asking what is stored.
    pub planning: Duration,
    /// Time in which there was nothing to compute before something was loaded.
    pub waited: Duration,
    /// Steps with prefill in them, and all tokens of those.
    pub prefill: Pace,
    /// Steps that only decoded.
    pub decode: Pace,
    /// Time of each step.
    pub steps: Vec<Duration>,
    /// Requests that had not begun when the batch was stopped.
    pub left: usize,
}

impl Runner {
    /// Runs requests, whose suffixes are whole contexts, in the order of a [`Plan`]. What `source` has of their KV is loaded
    /// ahead of its turn, or computed where that is sooner.
    ///
    /// A request that cannot run ends with its error, and the others go on. Completions are those of each request alone, bit
    /// for bit, if the source gives what [`Self::export`] gave.
    ///
    /// # Errors
    /// `Busy` when pages that were free at the start are not.
    pub fn run_batch(
        &self,
        requests: &[Request],
        sharing: Sharing,
        source: &mut impl KvSource,
        observer: &mut impl BatchObserver,
    ) -> Result<BatchReport> {
        let started = Instant::now();
        let mut sound = Vec::new();
        for (idx, request) in requests.iter().enumerate() {
            match self.check(request) {
                Ok(()) => sound.push(idx),
                Err(error) => observer.end(Ended { request: idx, reused_tokens: 0, outcome: Err(error) }),
            }
        }
        let shapes: Vec<_> = sound.iter().map(|&idx| RequestShape::from(&requests[idx])).collect();
        let mut asking = Duration::ZERO;
        let plan = Plan::informed(&shapes, |contexts| {
            let asked = Instant::now();
            let stored = source.stored_tokens(contexts);
            asking = asked.elapsed();
            stored
        });
        let mut batch = Batch::new(self, &plan, sound.iter().map(|&idx| &requests[idx]).collect(), sharing);
        batch.note_planning(started.elapsed().saturating_sub(asking), requests.len() - sound.len());
        batch.run(source, &mut OfSound { observer, sound: &sound })
    }

    /// What a batch may take of the pool as it is.
    pub fn limits(&self) -> Limits {
        let free_bytes = self.pool.limit_bytes().saturating_sub(self.pool.used_bytes());
        Limits {
            pages: free_bytes / self.pool.page_bytes(),
            page_tokens: PAGE_TOKENS,
            step_tokens: self.settings.step_tokens,
        }
    }
}

/// An observer of all requests, told of those that are sound.
struct OfSound<'a, O> {
    observer: &'a mut O,
    sound: &'a [usize],
}

impl<O: BatchObserver> BatchObserver for OfSound<'_, O> {
    fn token(&mut self, request: usize, completion: &Completion) -> ControlFlow<()> {
        self.observer.token(self.sound[request], completion)
    }

    fn end(&mut self, ended: Ended) {
        self.observer.end(Ended { request: self.sound[ended.request], ..ended });
    }

    fn step(&mut self, progress: Progress) -> ControlFlow<()> {
        self.observer.step(progress)
    }
}
