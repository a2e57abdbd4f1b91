//! KV that a batch does not compute: begun ahead of its turn, taken as it comes, computed where it does not; and the way back.

use std::time::{Duration, Instant};

use super::BatchObserver;
use super::running::Batch;
use crate::Result;
use crate::plan::{Item, Plan, Work};
use crate::runner::source::{Arrival, Computed, KvSource, Load, LoadedChunk};

/// What a step of prefill takes, before one was timed.
const UNTIMED_STEP: Duration = Duration::from_millis(100);

/// Loads of a batch.
pub(super) struct Loads {
    /// Of [`Plan::order`], what no load was begun for.
    next: usize,
    /// Prefixes that nobody needs.
    is_forgotten: Vec<bool>,
    /// Prefixes of which something was loaded.
    is_loaded: Vec<bool>,
    /// Time that was waited since something came.
    waited: Duration,
}

/// The prefix that has to be loaded before anything else goes on.
pub(super) struct Awaited {
    prefix: usize,
    /// How long that will take, if it is known.
    left: Option<Duration>,
}

impl Loads {
    pub(super) fn new(plan: &Plan) -> Self {
        let none = vec![false; plan.prefixes.len()];
        Self { next: 0, is_forgotten: none.clone(), is_loaded: none, waited: Duration::ZERO }
    }
}

impl Batch<'_> {
    /// Takes what has come; gives the first prefix that is still awaited.
    pub(super) fn take_loaded(&mut self, source: &mut impl KvSource) -> Result<Option<Awaited>> {
        let mut first = None;
        for prefix in self.schedule.loading() {
            self.begin_loads(source);
            let is_begun = self.plan.prefixes[prefix].place < self.loads.next;
            let arrival = match is_begun {
                true => source.poll(prefix, self.held_tokens(prefix)),
                false => Arrival::Pending(Some(Duration::MAX)),
            };
            match arrival {
                Arrival::Pending(left) => first = first.or(Some(Awaited { prefix, left })),
                Arrival::Ready(chunks) => self.import(prefix, &chunks)?,
            }
        }
        self.begin_loads(source);
        Ok(first)
    }

    /// Begins as many loads as the source has room for, in the order of the plan.
    fn begin_loads(&mut self, source: &mut impl KvSource) {
        while let Some(&item) = self.plan.order.get(self.loads.next) {
            let Item::Prefix(prefix) = item else {
                self.loads.next += 1;
                continue;
            };
            if self.plan.load_tokens(prefix) > 0 && !self.loads.is_forgotten[prefix] {
                if !source.has_room() {
                    return;
                }
                source.begin(self.load(prefix));
            }
            self.loads.next += 1;
        }
    }

    fn load(&self, prefix: usize) -> Load<'_> {
        let start = self.plan.prefixes[prefix].num_tokens - self.plan.own_tokens(prefix);
        let stored = self.plan.prefixes[prefix].stored;
        let context = &self.requests[stored.request].suffix;
        Load { prefix, context, start, end: start + self.plan.load_tokens(prefix) }
    }

    /// Tokens of a prefix that are there.
    fn held_tokens(&self, prefix: usize) -> usize {
        self.prefixes[prefix].num_tokens().max(self.load(prefix).start)
    }

    /// Appends what was loaded; what is unsound or does not join is computed.
    fn import(&mut self, prefix: usize, chunks: &[LoadedChunk]) -> Result<()> {
        let Load { start, end, .. } = self.load(prefix);
        let mut sequence = self.take_prefix(prefix)?;
        let held = sequence.num_tokens();
        for LoadedChunk { start, kv } in chunks {
            let (from, to) = (sequence.num_tokens(), end.min(start + kv.num_tokens()));
            let joins = *start <= from && from < to;
            if !joins || sequence.import(&self.runner.pool, kv, from - start..to - start).is_err() {
                break;
            }
        }
        let (loaded, num_tokens) = (sequence.num_tokens() - held, sequence.num_tokens());
        if num_tokens > start {
            self.prefixes[prefix] = sequence;
        }
        let released = self.schedule.loaded(prefix, num_tokens - start);
        self.release(released);
        self.progress.loaded_tokens += loaded;
        self.loads.is_loaded[prefix] = loaded > 0;
        self.loads.waited = Duration::ZERO;
        Ok(())
    }

    /// Waits for a prefix, without which nothing can be computed; or computes its next tokens, where that takes less.
    pub(super) fn wait_or_compute(
        &mut self,
        Awaited { prefix, left }: Awaited,
        source: &mut impl KvSource,
        observer: &mut impl BatchObserver,
    ) -> Result<()> {
        if self.loads.is_forgotten[prefix] {
            return Ok(());
        }
        let step = self.step_time();
        // An estimate that does not come true is believed for so long.
        if left.is_none_or(|left| left <= step) && self.loads.waited < 2 * step {
            let started = Instant::now();
            source.wait(prefix, left.unwrap_or(step).min(step));
            self.loads.waited += started.elapsed();
            self.report.waited += started.elapsed();
            return Ok(());
        }
        self.loads.waited = Duration::ZERO;
        let step = self.schedule.step_instead(prefix);
        self.compute(step, source, observer)?;
        if !self.schedule.loading().contains(&prefix) {
            self.forget(&[prefix], source);
        }
        Ok(())
    }

    /// What a step of prefill takes.
    fn step_time(&self) -> Duration {
        match self.report.prefill.tokens_per_sec() {
            0.0 => UNTIMED_STEP,
            tokens_per_sec => Duration::from_secs_f64(self.runner.settings.step_tokens as f64 / tokens_per_sec),
        }
    }

    /// Takes back loads of what is not needed: no request of it runs, or it was computed.
    pub(super) fn forget(&mut self, abandoned: &[usize], source: &mut impl KvSource) {
        for &prefix in abandoned {
            self.loads.is_forgotten[prefix] = true;
            if self.plan.load_tokens(prefix) > 0 && self.plan.prefixes[prefix].place < self.loads.next {
                source.forget(prefix);
            }
        }
    }

    /// Offers prefixes that several requests share and that are complete now.
    pub(super) fn offer(&self, work: &[Work], source: &mut impl KvSource) {
        for work in work {
            let Work::Prefix { prefix, .. } = *work else { continue };
            let (shared, sequence) = (&self.plan.prefixes[prefix], &self.prefixes[prefix]);
            if shared.num_requests > 1 && sequence.num_tokens() == shared.num_tokens {
                source.offer(Computed {
                    tokens: &self.requests[shared.request].suffix[..shared.num_tokens],
                    stored_tokens: shared.stored.num_tokens,
                    is_built_on_loaded: self.is_built_on_loaded(prefix),
                    runner: self.runner,
                    sequence,
                });
            }
        }
    }

    /// Whether something of a prefix was loaded, or of one above it.
    fn is_built_on_loaded(&self, prefix: usize) -> bool {
        let mut path = std::iter::successors(Some(prefix), |&prefix| self.plan.prefixes[prefix].parent);
        path.any(|prefix| self.loads.is_loaded[prefix])
    }
}
