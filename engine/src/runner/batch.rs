//! Batches: many requests by one plan, each distinct prefix token computed once.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::member::Member;
use super::{Completion, Pace, Request, Runner, Sharing};
use crate::kv::Sequence;
use crate::model::{Span, WantedLogits};
use crate::plan::{Limits, Plan, Refused, RequestShape, Schedule, Step, Work};
use crate::simd::PAGE_TOKENS;
use crate::{Error, Result};

/// Who is told what a batch comes to.
pub trait BatchObserver {
    /// A request has one more token, the last of `completion`; where that breaks, it ends there as by a stop token.
    fn token(&mut self, request: usize, completion: &Completion) -> ControlFlow<()> {
        let _ = (request, completion);
        ControlFlow::Continue(())
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
    /// Tokens of its context that were computed for others too.
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
    /// Most bytes of KV that were in use.
    pub peak_kv_bytes: usize,
    /// Time that planning took.
    pub planning: Duration,
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
    /// Runs requests, whose suffixes are whole contexts, in the order of a [`Plan`].
    ///
    /// A request that cannot run ends with its error, and the others go on. Completions are those of each request alone, bit
    /// for bit.
    ///
    /// # Errors
    /// `Busy` when pages that were free at the start are not.
    pub fn run_batch(
        &self,
        requests: &[Request],
        sharing: Sharing,
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
        let shape =
            |&idx: &usize| RequestShape { context: &requests[idx].suffix, max_tokens: requests[idx].max_tokens };
        let plan = Plan::new(&sound.iter().map(shape).collect::<Vec<_>>());
        let mut batch = Batch::new(self, &plan, sound.iter().map(|&idx| &requests[idx]).collect(), sharing);
        batch.report.planning = started.elapsed();
        batch.progress.ended = requests.len() - sound.len();
        let mut observer = OfSound { observer, sound: &sound };
        loop {
            let step = batch.schedule.step();
            let is_over = step.work.is_empty();
            batch.refuse(&step.refused, &mut observer);
            batch.run(step, &mut observer)?;
            if is_over {
                return Ok(batch.finish());
            }
            if observer.step(batch.progress).is_break() {
                batch.schedule.stop();
            }
        }
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

/// A batch on its way.
struct Batch<'a> {
    runner: &'a Runner,
    plan: &'a Plan,
    schedule: Schedule<'a>,
    requests: Vec<&'a Request>,
    sharing: Sharing,
    prefixes: Vec<Sequence>,
    members: Vec<Option<Member<'a>>>,
    progress: Progress,
    report: BatchReport,
}

impl<'a> Batch<'a> {
    fn new(runner: &'a Runner, plan: &'a Plan, requests: Vec<&'a Request>, sharing: Sharing) -> Self {
        Self {
            runner,
            plan,
            schedule: Schedule::new(plan, runner.limits()),
            members: requests.iter().map(|_| None).collect(),
            requests,
            sharing,
            prefixes: plan.prefixes.iter().map(|_| Sequence::default()).collect(),
            progress: Progress::default(),
            report: BatchReport { total_tokens: plan.total_tokens(), ..BatchReport::default() },
        }
    }

    fn refuse(&mut self, refused: &[Refused], observer: &mut impl BatchObserver) {
        let pool = &self.runner.pool;
        for &Refused { request, needed_pages, used_pages } in refused {
            let [needed_bytes, used_bytes] = [needed_pages, used_pages].map(|pages| pages * pool.page_bytes());
            self.progress.ended += 1;
            let error = Error::Busy { needed_bytes, used_bytes, limit_bytes: pool.limit_bytes() };
            observer.end(Ended { request, reused_tokens: 0, outcome: Err(error) });
        }
    }

    /// Computes a step.
    fn run(&mut self, step: Step, observer: &mut impl BatchObserver) -> Result<()> {
        if step.work.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let mut sequences = step.work.iter().map(|work| self.take_sequence(work)).collect::<Result<Vec<_>>>()?;
        let mut spans: Vec<Span<'_>> =
            step.work.iter().zip(&mut sequences).map(|(work, sequence)| self.span(work, sequence)).collect();
        let logits = self.runner.model.step(&mut spans, self.sharing);
        self.report.peak_kv_bytes = self.report.peak_kv_bytes.max(self.runner.pool.used_bytes());
        let mut row = 0;
        for (work, sequence) in step.work.iter().zip(sequences) {
            row += self.put_back(work, sequence, || logits.row(row), observer);
        }
        step.released.iter().for_each(|&prefix| self.prefixes[prefix] = Sequence::default());
        self.count(&step.work, started.elapsed());
        Ok(())
    }

    /// The sequence that a piece of work continues; a new one where it is the first.
    fn take_sequence(&mut self, work: &Work) -> Result<Sequence> {
        match *work {
            Work::Prefix { prefix, .. } => {
                let shared = &self.plan.prefixes[prefix];
                match std::mem::take(&mut self.prefixes[prefix]) {
                    sequence if sequence.num_tokens() > 0 => Ok(sequence),
                    _ => self.fork(shared.parent, shared.num_tokens - self.plan.own_tokens(prefix), shared.num_tokens),
                }
            }
            Work::Context { request, .. } | Work::Decode { request } => {
                if self.members[request].is_none() {
                    self.members[request] = Some(self.begin(request)?);
                }
                let member = self.members[request].as_mut().expect("begun above");
                Ok(std::mem::take(&mut member.sequence))
            }
        }
    }

    fn begin(&self, request: usize) -> Result<Member<'a>> {
        let (planned, request) = (&self.plan.requests[request], self.requests[request]);
        let capacity = planned.context_tokens + planned.max_tokens - 1;
        let sequence = self.fork(planned.parent, planned.reused_tokens, capacity)?;
        Ok(Member::new(request, sequence, request.suffix[planned.reused_tokens..].to_vec()))
    }

    fn fork(&self, parent: Option<usize>, num_tokens: usize, capacity: usize) -> Result<Sequence> {
        let from_nothing = Sequence::default();
        let parent = parent.map_or(&from_nothing, |parent| &self.prefixes[parent]);
        parent.fork(&self.runner.pool, num_tokens, capacity)
    }

    fn span<'s>(&'s self, work: &Work, sequence: &'s mut Sequence) -> Span<'s> {
        let start = sequence.num_tokens();
        let (tokens, logits) = match *work {
            Work::Prefix { prefix, num_tokens } => {
                let context = &self.requests[self.plan.prefixes[prefix].request].suffix;
                (&context[start..start + num_tokens], WantedLogits::None)
            }
            Work::Context { request, num_tokens } => self.pending(request, num_tokens),
            Work::Decode { request } => self.pending(request, 1),
        };
        Span { tokens, sequence, logits }
    }

    fn pending(&self, request: usize, num_tokens: usize) -> (&[u32], WantedLogits) {
        let pending = self.members[request].as_ref().map_or(&[][..], |member| &member.pending);
        let logits = if num_tokens == pending.len() { WantedLogits::Last } else { WantedLogits::None };
        (&pending[..num_tokens], logits)
    }

    /// Takes the result of a piece of work; gives how many rows of logits it had.
    fn put_back<'l>(
        &mut self,
        work: &Work,
        sequence: Sequence,
        logits: impl FnOnce() -> &'l [f32],
        observer: &mut impl BatchObserver,
    ) -> usize {
        let (request, computed) = match *work {
            Work::Prefix { prefix, .. } => {
                self.prefixes[prefix] = sequence;
                return 0;
            }
            Work::Context { request, num_tokens } => (request, num_tokens),
            Work::Decode { request } => (request, 1),
        };
        let member = self.members[request].as_mut().expect("its sequence was taken");
        member.sequence = sequence;
        let advanced = member.advance(computed, logits);
        let rows = *advanced.as_ref().unwrap_or(&true);
        self.progress.decoded_tokens += usize::from(rows);
        if matches!(advanced, Ok(true)) && observer.token(request, &member.completion).is_break() {
            member.stop();
        }
        if member.is_finished || advanced.is_err() {
            let completion = self.members[request].take().map(|member| member.completion).expect("it was there");
            self.schedule.finish(request);
            self.progress.ended += 1;
            let reused_tokens = self.plan.requests[request].reused_tokens;
            observer.end(Ended { request, reused_tokens, outcome: advanced.map(|_| completion) });
        }
        usize::from(rows)
    }

    fn count(&mut self, work: &[Work], elapsed: Duration) {
        let decoded = work.iter().filter(|work| matches!(work, Work::Decode { .. })).count();
        let prefilled: usize = work.iter().map(Work::prefill_tokens).sum();
        self.progress.decoding = decoded;
        self.progress.prefilled_tokens += prefilled;
        self.progress.kv_bytes = self.runner.pool.used_bytes();
        let pace = if prefilled > 0 { &mut self.report.prefill } else { &mut self.report.decode };
        pace.count(prefilled + decoded, elapsed);
        self.report.steps.push(elapsed);
    }

    fn finish(self) -> BatchReport {
        let is_request = |item: &&crate::plan::Item| matches!(item, crate::plan::Item::Request(_));
        let left = self.schedule.waiting().iter().filter(is_request).count();
        BatchReport { prefilled_tokens: self.progress.prefilled_tokens, left, ..self.report }
    }
}
