//! Requests that come and go while others run.
//!
//! Each joins those that it shares a prefix with: full pages of what was computed are kept while there is room and found
//! again by their tokens, and a request whose prefix another one is computing waits for that instead of computing it too.

mod admission;
mod cache;

use std::collections::VecDeque;

use super::batch::{BatchObserver, Ended, Progress};
use super::member::Member;
use super::source::Computed;
use super::{Prefix, Request, Runner, Sharing};
use crate::model::{Span, WantedLogits};
use crate::rows::Rows;
use crate::simd::PAGE_TOKENS;
use crate::{Error, Result};
use admission::Waiting;
use cache::PageCache;

/// A runner that takes requests at any time. Each [`Self::step`] computes a token of all that decode, and some of the
/// contexts of the others.
///
/// What has begun is never preempted: pages for its worst case are taken when it begins. Completions are those of each
/// request alone, bit for bit.
#[derive(Debug)]
pub struct Online<'a> {
    runner: &'a Runner,
    cache: PageCache,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    /// In the order of their contexts, so that those with common pages are neighbours.
    running: Vec<Running>,
    arrivals: u64,
    progress: Progress,
}

/// A request that has begun.
#[derive(Debug)]
struct Running {
    id: usize,
    arrival: u64,
    reused_tokens: usize,
    /// Leading pages that the cache has.
    kept_pages: usize,
    member: Member<Box<Request>>,
    failure: Option<Error>,
}

impl<'a> Online<'a> {
    /// Nothing runs.
    pub fn new(runner: &'a Runner) -> Self {
        Self {
            runner,
            cache: PageCache::default(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            arrivals: 0,
            progress: Progress::default(),
        }
    }

    /// Takes a request, whose suffix is its whole context. It begins when there is room, not before those that came before it.
    ///
    /// # Errors
    /// `Invalid` as [`Runner::check`], `Busy` when its worst case does not fit the memory even alone.
    pub fn submit(&mut self, id: usize, request: Request) -> Result<()> {
        self.runner.check(&request)?;
        self.arrivals += 1;
        let waiting = Waiting::new(id, self.arrivals, request);
        let pool = &self.runner.pool;
        let needed_bytes = waiting.num_pages().saturating_mul(pool.page_bytes());
        if needed_bytes > pool.limit_bytes() {
            return Err(Error::Busy { needed_bytes, used_bytes: 0, limit_bytes: pool.limit_bytes() });
        }
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// Drops a request that nobody wants any more, without a word to the observer.
    pub fn cancel(&mut self, id: usize) {
        self.waiting.retain(|waiting| waiting.id != id);
        self.running.retain(|running| running.id != id);
    }

    /// Whether there is nothing to compute.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Requests that have not begun.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Leading tokens of a context whose KV is there.
    pub fn cached_tokens(&mut self, context: &[u32]) -> usize {
        self.cache.find(context).len() * PAGE_TOKENS
    }

    /// Frees pages for so many tokens, as far as nobody uses what is kept.
    pub fn make_room_for(&mut self, num_tokens: usize) {
        self.make_room(num_tokens.div_ceil(PAGE_TOKENS));
    }

    /// Keeps the full pages of a prefix that came from elsewhere, for requests to come.
    pub fn keep(&mut self, mut prefix: Prefix) {
        self.cache.keep(&prefix.tokens, prefix.sequence.full_pages());
    }

    /// Computes a step, if there is anything to compute.
    pub fn step(&mut self, observer: &mut impl BatchObserver) {
        self.admit();
        let takes = self.takes();
        let logits = self.compute(&takes);
        let mut row = 0;
        self.progress.decoding = 0;
        for (idx, take) in takes.into_iter().enumerate().filter(|(_, take)| *take > 0) {
            row += usize::from(self.advance(idx, take, || logits.row(row), observer));
        }
        for ended in self.running.extract_if(.., |running| running.member.is_finished || running.failure.is_some()) {
            let Running { id, reused_tokens, member, failure, .. } = ended;
            self.progress.ended += 1;
            let outcome = failure.map_or(Ok(member.completion), Err);
            observer.end(Ended { request: id, reused_tokens, outcome });
        }
        self.progress.kv_bytes = self.runner.pool.used_bytes();
        let _ = observer.step(self.progress);
    }

    /// Pending tokens that each request computes: single ones always, longer runs within the budget, first come, first served.
    fn takes(&self) -> Vec<usize> {
        let mut by_arrival: Vec<usize> = (0..self.running.len()).collect();
        by_arrival.sort_unstable_by_key(|&idx| self.running[idx].arrival);
        let mut takes = vec![0; self.running.len()];
        let mut budget = self.runner.settings.step_tokens.max(1);
        for idx in by_arrival {
            match self.running[idx].member.pending.len() {
                _ if self.running[idx].failure.is_some() => {}
                1 => takes[idx] = 1,
                pending => {
                    takes[idx] = pending.min(budget);
                    budget -= takes[idx];
                }
            }
        }
        takes
    }

    fn compute(&mut self, takes: &[usize]) -> Rows {
        let taking = self.running.iter_mut().zip(takes).filter(|(_, take)| **take > 0);
        let mut spans: Vec<Span<'_>> = taking.map(|(running, &take)| take_span(&mut running.member, take)).collect();
        if spans.is_empty() {
            return Rows::zeroed(0, self.runner.model.config().vocab_size);
        }
        self.runner.model.step(&mut spans, Sharing::On)
    }

    /// Takes what a step computed for a request; gives whether it had logits.
    fn advance<'l>(
        &mut self,
        idx: usize,
        take: usize,
        logits: impl FnOnce() -> &'l [f32],
        observer: &mut impl BatchObserver,
    ) -> bool {
        let running = &mut self.running[idx];
        running.keep_pages(&mut self.cache);
        let is_decode = !running.member.completion.tokens.is_empty();
        if !is_decode && take == running.member.pending.len() {
            let (tokens, sequence) = (&running.member.request.suffix[..], &running.member.sequence);
            let (stored_tokens, is_built_on_loaded) = (0, false);
            observer.prefilled(
                running.id,
                Computed { tokens, stored_tokens, is_built_on_loaded, runner: self.runner, sequence },
            );
        }
        self.progress.decoding += usize::from(is_decode);
        self.progress.prefilled_tokens += if is_decode { 0 } else { take };
        let advanced = running.member.advance(take, logits);
        let has_logits = *advanced.as_ref().unwrap_or(&true);
        self.progress.decoded_tokens += usize::from(has_logits);
        match advanced {
            Ok(true) if observer.token(running.id, &running.member.completion).is_break() => running.member.stop(),
            Ok(_) => {}
            Err(error) => running.failure = Some(error),
        }
        has_logits
    }
}

/// The next tokens of a request, to compute.
fn take_span(member: &mut Member<Box<Request>>, take: usize) -> Span<'_> {
    let logits = if take == member.pending.len() { WantedLogits::Last } else { WantedLogits::None };
    Span { tokens: &member.pending[..take], sequence: &mut member.sequence, logits }
}

impl Running {
    /// Lets others find the pages that have become full.
    fn keep_pages(&mut self, cache: &mut PageCache) {
        let pages = self.member.sequence.full_pages();
        if pages.len() > self.kept_pages {
            self.kept_pages = pages.len();
            let tokens = [&self.member.request.suffix[..], &self.member.completion.tokens].concat();
            cache.keep(&tokens, pages);
        }
    }
}
