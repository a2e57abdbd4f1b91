//! Promise: requests that come at any time get what they would get alone, bit for bit; what they share is computed once; what
//! nobody waits for any more is dropped, and its memory used again.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::HashMap;
use std::ops::ControlFlow;

use common::{BOTH, bundled, checkpoints, greedy, runner, runner_with};
use kvdepot_engine::{
    BatchObserver, Completion, Ended, ErrorKind, FinishReason, Online, PAGE_TOKENS, Precision, Prefix, Progress,
    Request, Runner, Sampling, Settings, Sharing,
};
use proptest::prelude::*;

/// Notes what becomes of requests.
#[derive(Default)]
struct Seen {
    ended: HashMap<usize, (usize, kvdepot_engine::Result<Completion>)>,
    stop_after: Option<usize>,
    progress: Progress,
}

impl BatchObserver for Seen {
    fn token(&mut self, request: usize, completion: &Completion) -> ControlFlow<()> {
        assert!(!self.ended.contains_key(&request), "over");
        if self.stop_after == Some(completion.tokens.len()) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn end(&mut self, ended: Ended) {
        assert!(self.ended.insert(ended.request, (ended.reused_tokens, ended.outcome)).is_none(), "twice");
    }

    fn step(&mut self, progress: Progress) -> ControlFlow<()> {
        self.progress = progress;
        ControlFlow::Continue(())
    }
}

impl Seen {
    fn finish(&mut self, online: &mut Online<'_>) {
        for _ in 0..10_000 {
            if online.is_idle() {
                return;
            }
            online.step(self);
        }
        panic!("it does not end");
    }

    fn completion(&mut self, id: usize) -> Completion {
        self.ended.remove(&id).unwrap().1.unwrap()
    }
}

fn alone(runner: &Runner, request: &Request) -> Completion {
    let report = runner.decode_group(&Prefix::default(), std::slice::from_ref(request), Sharing::Off).unwrap();
    report.completions[0].clone()
}

fn tokens(seed: u32, count: usize) -> Vec<u32> {
    (0..count as u32).map(|token| (token * 13 + seed * 101 + token * token * seed) % 90).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn completions_are_those_of_each_request_alone(
        parts in prop::collection::vec((any::<usize>(), 0usize..160, 1usize..40, 0usize..4, 1usize..9), 1..10),
        step_tokens in 1usize..90, pages in 5usize..30,
    ) {
        let mut contexts: Vec<Vec<u32>> = Vec::new();
        for (idx, &(earlier, cut, count, ..)) in parts.iter().enumerate() {
            let mut context = contexts.get(earlier % (idx + 1)).cloned().unwrap_or_default();
            context.truncate(cut);
            context.extend(tokens(idx as u32 + 1, count));
            contexts.push(context);
        }
        for dir in &checkpoints()[..2] {
            for precision in BOTH {
                let runner = runner(dir, precision);
                let kv_limit_bytes = pages * runner.pool().page_bytes();
                let tight = runner_with(dir, precision, Settings { step_tokens, kv_limit_bytes });
                let (mut online, mut seen) = (Online::new(&tight), Seen::default());
                let mut taken = Vec::new();
                for (id, (context, &(.., pause, max_tokens))) in contexts.iter().zip(&parts).enumerate() {
                    let sampling = Sampling { temperature: id as f32 % 2.0, seed: id as u64, ..Sampling::default() };
                    let request = Request { sampling, ..greedy(context, max_tokens) };
                    let fits = (context.len() + max_tokens - 1).div_ceil(PAGE_TOKENS) <= pages;
                    prop_assert_eq!(online.submit(id, request.clone()).is_ok(), fits);
                    if fits { taken.push((id, request)); }
                    for _ in 0..pause {
                        online.step(&mut seen);
                        prop_assert!(tight.pool().used_bytes() <= kv_limit_bytes);
                    }
                }
                seen.finish(&mut online);
                for (id, request) in taken {
                    prop_assert_eq!(seen.completion(id), alone(&runner, &request));
                }
                prop_assert!(seen.ended.is_empty());
                drop(online);
                prop_assert_eq!(tight.pool().used_bytes(), 0);
            }
        }
    }
}

#[test]
fn a_prefix_is_computed_once_whenever_its_requests_come() {
    let runner = runner(&bundled(), Precision::F32);
    let (mut online, mut seen) = (Online::new(&runner), Seen::default());
    let shared = tokens(1, 5 * PAGE_TOKENS);
    let request = |id: usize| greedy(&[&shared[..], &[id as u32, 3, 4]].concat(), 4);
    // Two at once, one while the prefix is computed, one when it is, one when the others are gone.
    online.submit(0, request(0)).unwrap();
    online.submit(1, request(1)).unwrap();
    online.step(&mut seen);
    online.submit(2, request(2)).unwrap();
    online.step(&mut seen);
    online.step(&mut seen);
    online.submit(3, request(3)).unwrap();
    seen.finish(&mut online);
    online.submit(4, request(4)).unwrap();
    seen.finish(&mut online);
    let reused: Vec<usize> = (0..5).map(|id| seen.ended[&id].0).collect();
    assert_eq!(reused, [0, shared.len(), shared.len(), shared.len(), shared.len()]);
    assert_eq!(seen.progress.prefilled_tokens, shared.len() + 5 * 3);
    assert_eq!(online.cached_tokens(&request(0).suffix), shared.len());
    for id in 0..5 {
        assert_eq!(seen.completion(id), alone(&runner, &request(id)));
    }
}

#[test]
fn what_was_decoded_is_found_again_by_the_next_turn() {
    let runner = runner(&bundled(), Precision::F32);
    let (mut online, mut seen) = (Online::new(&runner), Seen::default());
    online.submit(0, greedy(&tokens(1, 40), 60)).unwrap();
    seen.finish(&mut online);
    let turn = [tokens(1, 40), seen.completion(0).tokens, tokens(2, 9)].concat();
    online.submit(1, greedy(&turn, 3)).unwrap();
    seen.finish(&mut online);
    assert_eq!(seen.ended[&1].0, PAGE_TOKENS);
    assert_eq!(seen.completion(1), alone(&runner, &greedy(&turn, 3)));
}

#[test]
fn a_request_that_is_cancelled_frees_its_memory_and_another_computes_what_it_would_have() {
    let dir = bundled();
    let page_bytes = runner(&dir, Precision::F32).pool().page_bytes();
    let settings = Settings { kv_limit_bytes: 6 * page_bytes, step_tokens: 64 };
    let runner = runner_with(&dir, Precision::F32, settings);
    let (mut online, mut seen) = (Online::new(&runner), Seen::default());
    let shared = tokens(1, 4 * PAGE_TOKENS);
    let request = |id: u32| greedy(&[&shared[..], &[id]].concat(), 3);
    for id in 0..3 {
        online.submit(id, request(id as u32)).unwrap();
    }
    online.step(&mut seen);
    assert_eq!(online.num_waiting(), 2);
    online.cancel(0);
    online.cancel(2);
    seen.finish(&mut online);
    assert_eq!(seen.ended.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(seen.ended[&1].0, PAGE_TOKENS, "what the first had computed");
    assert_eq!(seen.completion(1), alone_in(&dir, &request(1)));
}

#[test]
fn what_is_kept_makes_room_for_what_runs() {
    let dir = bundled();
    let page_bytes = runner(&dir, Precision::F32).pool().page_bytes();
    let settings = Settings { kv_limit_bytes: 5 * page_bytes, ..Settings::default() };
    let runner = runner_with(&dir, Precision::F32, settings);
    let (mut online, mut seen) = (Online::new(&runner), Seen::default());
    for id in 0..6u32 {
        let request = greedy(&tokens(id + 1, 3 * PAGE_TOKENS + 7), 2);
        online.submit(id as usize, request.clone()).unwrap();
        seen.finish(&mut online);
        assert_eq!(seen.completion(id as usize), alone_in(&dir, &request));
        assert_eq!(online.cached_tokens(&request.suffix), 3 * PAGE_TOKENS);
    }
    let refused = online.submit(9, greedy(&tokens(1, 5 * PAGE_TOKENS), 2)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert_eq!(online.submit(9, greedy(&[1, 999_999], 2)).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(online.is_idle());
}

fn alone_in(dir: &std::path::Path, request: &Request) -> Completion {
    alone(&runner(dir, Precision::F32), request)
}

#[test]
fn kv_from_elsewhere_is_used() {
    let runner = runner(&bundled(), Precision::F32);
    let context = tokens(1, 3 * PAGE_TOKENS + 20);
    let mut prefix = Prefix::default();
    runner.prefill(&mut prefix, &context, |_| {}).unwrap();
    let chunk = runner.export(&prefix, 0..context.len()).unwrap();
    drop(prefix);
    let (mut online, mut seen) = (Online::new(&runner), Seen::default());
    online.make_room_for(context.len());
    online.keep(runner.import(&context, &[chunk]).unwrap());
    let request = greedy(&[&context[..], &[5]].concat(), 4);
    online.submit(0, request.clone()).unwrap();
    seen.finish(&mut online);
    assert_eq!(seen.ended[&0].0, 3 * PAGE_TOKENS);
    assert_eq!(seen.completion(0), alone(&runner, &request));
}

#[test]
fn an_observer_ends_a_request_where_it_likes() {
    let runner = runner(&bundled(), Precision::F32);
    let (mut online, mut seen) = (Online::new(&runner), Seen { stop_after: Some(2), ..Seen::default() });
    online.submit(0, greedy(&[1, 2], 9)).unwrap();
    seen.finish(&mut online);
    let completion = seen.completion(0);
    assert_eq!((completion.tokens.len(), completion.finish_reason), (2, FinishReason::Stop));
}
