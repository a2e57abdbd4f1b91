//! Promise: a batch gives each request what it would get alone, bit for bit, within its memory, and gives all of it back.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::ops::ControlFlow;

use common::{BOTH, checkpoints, greedy, runner, runner_with};
use kvdepot_engine::{
    BatchObserver, BatchReport, Completion, Ended, ErrorKind, FinishReason, NoSource, PAGE_TOKENS, Precision, Prefix,
    Progress, Request, Runner, Sampling, Settings, Sharing,
};
use proptest::prelude::*;

fn run(
    runner: &Runner,
    requests: &[Request],
    sharing: Sharing,
) -> (Vec<kvdepot_engine::Result<Completion>>, BatchReport) {
    let mut seen = Seen { outcomes: requests.iter().map(|_| None).collect(), ..Seen::default() };
    let report = runner.run_batch(requests, sharing, &mut NoSource, &mut seen).unwrap();
    assert_eq!(runner.pool().used_bytes(), 0);
    (seen.outcomes.into_iter().map(Option::unwrap).collect(), report)
}

/// Notes everything, and stops what it is told to.
#[derive(Default)]
struct Seen {
    outcomes: Vec<Option<kvdepot_engine::Result<Completion>>>,
    /// Stops each request after so many tokens.
    stop_after: Option<usize>,
    stops_batch: bool,
}

impl BatchObserver for Seen {
    fn token(&mut self, request: usize, completion: &Completion) -> ControlFlow<()> {
        assert!(self.outcomes[request].is_none(), "over");
        if self.stop_after == Some(completion.tokens.len()) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn end(&mut self, ended: Ended) {
        assert!(self.outcomes[ended.request].replace(ended.outcome).is_none(), "twice");
    }

    fn step(&mut self, _: Progress) -> ControlFlow<()> {
        if self.stops_batch { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Requests that share prefixes of several lengths: each goes on where an earlier one had `cut` of its tokens.
fn requests(parts: &[(usize, usize, usize)]) -> Vec<Request> {
    let mut contexts: Vec<Vec<u32>> = Vec::new();
    for (idx, &(earlier, cut, tokens)) in parts.iter().enumerate() {
        let mut context = contexts.get(earlier % (idx + 1)).cloned().unwrap_or_default();
        context.truncate(cut);
        context.extend((0..tokens).map(|token| ((idx * 31 + token * 7) % 90) as u32));
        contexts.push(context);
    }
    let sampling = |idx: usize| Sampling { temperature: idx as f32 % 3.0, seed: idx as u64, ..Sampling::default() };
    let contexts = contexts.iter().enumerate();
    contexts.map(|(idx, context)| Request { sampling: sampling(idx), ..greedy(context, 1 + idx * 5 % 9) }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn completions_are_those_of_each_request_alone(
        parts in prop::collection::vec((any::<usize>(), 0usize..140, 1usize..30), 1..9), step_tokens in 1usize..90, pages in 12usize..30,
    ) {
        let requests = requests(&parts);
        for dir in &checkpoints()[..2] {
            for precision in BOTH {
                let alone = runner(dir, precision);
                let kv_limit_bytes = pages * alone.pool().page_bytes();
                let tight = runner_with(dir, precision, Settings { step_tokens, kv_limit_bytes });
                let (shared, report) = run(&tight, &requests, Sharing::On);
                prop_assert!(report.peak_kv_bytes <= kv_limit_bytes);
                prop_assert!(report.prefilled_tokens <= report.total_tokens);
                let (apart, _) = run(&alone, &requests, Sharing::Off);
                for (request, (shared, apart)) in requests.iter().zip(shared.into_iter().zip(apart)) {
                    let expected = alone.decode_group(&Prefix::default(), std::slice::from_ref(request), Sharing::Off).unwrap();
                    prop_assert_eq!(&shared.unwrap(), &expected.completions[0]);
                    prop_assert_eq!(&apart.unwrap(), &expected.completions[0]);
                }
            }
        }
    }
}

#[test]
fn a_request_that_cannot_run_ends_with_its_error_and_the_others_go_on() {
    let dir = &checkpoints()[0];
    let page_bytes = runner(dir, Precision::F32).pool().page_bytes();
    let runner = runner_with(dir, Precision::F32, Settings { kv_limit_bytes: 2 * page_bytes, ..Settings::default() });
    let too_long = vec![3; PAGE_TOKENS * 2 + 1];
    let requests = [
        greedy(&[1, 2], 3),
        greedy(&[], 3),
        greedy(&too_long, 3),
        greedy(&[1, 999_999], 3),
        greedy(&[1, 2], 0),
        greedy(&[1, 3], 2),
    ];
    let (outcomes, report) = run(&runner, &requests, Sharing::On);
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(kvdepot_engine::Error::kind)).collect();
    let (invalid, busy) = (Some(ErrorKind::Invalid), Some(ErrorKind::Busy));
    assert_eq!(kinds, [None, invalid, busy, invalid, invalid, None]);
    assert!(outcomes[2].as_ref().unwrap_err().to_string().contains(&format!("of the pool's {} ", 2 * page_bytes)));
    assert_eq!(report.prefilled_tokens, 1 + 1 + 1, "the shared token once, and each last one");
}

#[test]
fn a_batch_that_is_stopped_ends_what_it_began_and_counts_the_rest() {
    let dir = &checkpoints()[0];
    let page_bytes = runner(dir, Precision::F32).pool().page_bytes();
    let runner = runner_with(dir, Precision::F32, Settings { kv_limit_bytes: 2 * page_bytes, ..Settings::default() });
    let requests: Vec<Request> = (0..7).map(|token| greedy(&[token, 1], 5)).collect();
    let mut seen = Seen { outcomes: (0..7).map(|_| None).collect(), stops_batch: true, ..Seen::default() };
    let report = runner.run_batch(&requests, Sharing::On, &mut NoSource, &mut seen).unwrap();
    let ended: Vec<usize> = seen.outcomes.into_iter().flatten().map(|outcome| outcome.unwrap().tokens.len()).collect();
    assert_eq!((ended, report.left), (vec![5, 5], 5));
    assert_eq!(runner.pool().used_bytes(), 0);
}

#[test]
fn an_observer_ends_requests_where_it_likes() {
    let runner = runner(&checkpoints()[0], Precision::F32);
    let requests = [greedy(&[1, 2], 9), greedy(&[1, 3], 2)];
    let (whole, _) = run(&runner, &requests, Sharing::On);
    let mut seen = Seen { outcomes: vec![None, None], stop_after: Some(4), ..Seen::default() };
    runner.run_batch(&requests, Sharing::On, &mut NoSource, &mut seen).unwrap();
    let cut: Vec<Completion> = seen.outcomes.into_iter().map(|outcome| outcome.unwrap().unwrap()).collect();
    assert_eq!(cut[0].tokens, whole[0].as_ref().unwrap().tokens[..4]);
    assert_eq!((cut[0].finish_reason, cut[1].finish_reason), (FinishReason::Stop, FinishReason::Length));
}
