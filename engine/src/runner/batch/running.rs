//! Steps of a batch.

use std::time::{Duration, Instant};

use super::loading::Loads;
use super::{BatchObserver, BatchReport, Ended, Progress};
use crate::kv::Sequence;
use crate::model::{Span, WantedLogits};
use crate::plan::{Item, Plan, Refused, Schedule, Step, Work};
use crate::runner::member::Member;
use crate::runner::source::KvSource;
use crate::runner::{Request, Runner, Sharing};
use crate::{Error, Result};

/// A batch on its way.
pub(super) struct Batch<'a> {
    pub(super) runner: &'a Runner,
    pub(super) plan: &'a Plan,
    pub(super) schedule: Schedule<'a>,
    pub(super) requests: Vec<&'a Request>,
    sharing: Sharing,
    pub(super) prefixes: Vec<Sequence>,
    pub(super) loads: Loads,
    members: Vec<Option<Member<&'a Request>>>,
    pub(super) progress: Progress,
    pub(super) report: BatchReport,
}

impl<'a> Batch<'a> {
    pub(super) fn new(runner: &'a Runner, plan: &'a Plan, requests: Vec<&'a Request>, sharing: Sharing) -> Self {
        Self {
            runner,
            plan,
            schedule: Schedule::new(plan, runner.limits()),
            members: requests.iter().map(|_| None).collect(),
            requests,
            sharing,
            prefixes: plan.prefixes.iter().map(|_| Sequence::default()).collect(),
            loads: Loads::new(plan),
            progress: Progress::default(),
            report: BatchReport { total_tokens: plan.total_tokens(), ..BatchReport::default() },
        }
    }

    pub(super) fn note_planning(&mut self, planning: Duration, unsound: usize) {
        self.report.planning = planning;
        self.progress.ended = unsound;
    }

    /// Runs everything.
    pub(super) fn run(mut self, source: &mut impl KvSource, observer: &mut impl BatchObserver) -> Result<BatchReport> {
        loop {
            let awaited = self.take_loaded(source)?;
            let step = self.schedule.step();
            self.refuse(&step.refused, observer);
            self.forget(&step.abandoned, source);
            match awaited {
                _ if !step.work.is_empty() => self.compute(step, source, observer)?,
                Some(awaited) => self.wait_or_compute(awaited, source, observer)?,
                None if !self.schedule.loading().is_empty() => {}
                None => return Ok(self.finish()),
            }
            if observer.step(self.progress).is_break() {
                self.schedule.stop();
            }
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
    pub(super) fn compute(
        &mut self,
        step: Step,
        source: &mut impl KvSource,
        observer: &mut impl BatchObserver,
    ) -> Result<()> {
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
        self.offer(&step.work, source);
        self.release(step.released);
        self.count(&step.work, started.elapsed());
        Ok(())
    }

    /// Nothing continues these any more but what did already.
    pub(super) fn release(&mut self, released: impl IntoIterator<Item = usize>) {
        released.into_iter().for_each(|prefix| self.prefixes[prefix] = Sequence::default());
    }

    /// The sequence that a piece of work continues; a new one where it is the first.
    fn take_sequence(&mut self, work: &Work) -> Result<Sequence> {
        match *work {
            Work::Prefix { prefix, .. } => self.take_prefix(prefix),
            Work::Context { request, .. } | Work::Decode { request } => {
                if self.members[request].is_none() {
                    self.members[request] = Some(self.begin(request)?);
                }
                let member = self.members[request].as_mut().expect("begun above");
                Ok(std::mem::take(&mut member.sequence))
            }
        }
    }

    /// The sequence of a prefix, to go on with; a new one where there is none.
    pub(super) fn take_prefix(&mut self, prefix: usize) -> Result<Sequence> {
        let shared = &self.plan.prefixes[prefix];
        match std::mem::take(&mut self.prefixes[prefix]) {
            sequence if sequence.num_tokens() > 0 => Ok(sequence),
            _ => self.fork(shared.parent, shared.num_tokens - self.plan.own_tokens(prefix), shared.num_tokens),
        }
    }

    fn begin(&self, request: usize) -> Result<Member<&'a Request>> {
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
        let is_request = |item: &&Item| matches!(item, Item::Request(_));
        let left = self.schedule.waiting().iter().filter(is_request).count();
        let Progress { prefilled_tokens, loaded_tokens, .. } = self.progress;
        BatchReport { prefilled_tokens, loaded_tokens, left, ..self.report }
    }
}
