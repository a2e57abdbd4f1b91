//! Promise: a group is admitted whole or refused whole, and what it used is free when it is done.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{checkpoints, greedy, runner, runner_with};
use kvdepot_engine::{ErrorKind, FinishReason, PAGE_TOKENS, Precision, Prefix, Request, Sampling, Settings, Sharing};

fn refused(request: Request) -> String {
    let runner = runner(&checkpoints()[0], Precision::F32);
    let error = runner.decode_group(&Prefix::default(), &[request], Sharing::On).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    error.to_string()
}

#[test]
fn a_group_that_does_not_fit_is_refused_and_leaves_nothing() {
    let dir = &checkpoints()[0];
    let page_bytes = runner(dir, Precision::F32).pool().page_bytes();
    let settings = Settings { kv_limit_bytes: 4 * page_bytes, ..Settings::default() };
    let runner = runner_with(dir, Precision::F32, settings);
    let mut prefix = Prefix::default();
    runner.prefill(&mut prefix, &[1; PAGE_TOKENS], |_| {}).unwrap();

    let request = greedy(&[2], PAGE_TOKENS);
    let error = runner.decode_group(&prefix, &vec![request.clone(); 4], Sharing::On).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains(&format!("of the pool's {} ", 4 * page_bytes)), "{error}");
    assert_eq!(runner.pool().used_bytes(), page_bytes);

    let report = runner.decode_group(&prefix, &vec![request; 3], Sharing::On).unwrap();
    assert_eq!(report.completions.len(), 3);
    assert_eq!(runner.pool().used_bytes(), page_bytes);
    drop(prefix);
    assert_eq!(runner.pool().used_bytes(), 0);
}

#[test]
fn requests_that_mean_nothing_are_refused_with_their_values() {
    assert!(refused(greedy(&[], 4)).contains("0 tokens of context"));
    assert!(refused(greedy(&[1], 0)).contains("0 to decode"));
    assert!(refused(greedy(&[1, 100_000], 4)).contains("token 100000 is outside the vocabulary of 160"));
    assert!(refused(greedy(&[1], 10_000)).contains("10000 tokens are more than the model's context of 256"));
    let sampling = Sampling { temperature: -1.0, ..Sampling::default() };
    assert!(refused(Request { sampling, ..greedy(&[1], 4) }).contains("temperature -1"));
}

#[test]
fn a_request_that_chooses_a_stop_token_leaves_with_it() {
    let runner = runner(&checkpoints()[0], Precision::F32);
    let free = runner.decode_group(&Prefix::default(), &[greedy(&[5, 6], 12)], Sharing::On).unwrap();
    let stop = free.completions[0].tokens[3];
    let first = free.completions[0].tokens.iter().position(|&token| token == stop).unwrap();
    let requests = [Request { stop_tokens: vec![stop], ..greedy(&[5, 6], 12) }, greedy(&[5, 6], 12)];
    let report = runner.decode_group(&Prefix::default(), &requests, Sharing::On).unwrap();
    assert_eq!(report.completions[0].tokens, free.completions[0].tokens[..=first]);
    assert_eq!(report.completions[0].finish_reason, FinishReason::Stop);
    assert_eq!(report.completions[1], free.completions[0]);
    assert_eq!(report.completions[1].finish_reason, FinishReason::Length);
}

#[test]
fn progress_is_told_after_every_step_and_finished_tokens_can_be_exported_there() {
    let settings = Settings { step_tokens: 30, ..Settings::default() };
    let runner = runner_with(&checkpoints()[0], Precision::F32, settings);
    let mut seen = Vec::new();
    let pace = runner
        .prefill(&mut Prefix::default(), &[7; 100], |prefix| {
            let done = prefix.tokens().len();
            assert_eq!(runner.export(prefix, 0..done).unwrap().num_tokens(), done);
            seen.push(done);
        })
        .unwrap();
    assert_eq!(seen, [30, 60, 90, 100]);
    assert_eq!((pace.steps, pace.tokens), (4, 100));
}

#[test]
fn chunks_that_are_not_the_named_tokens_are_refused() {
    let runner = runner(&checkpoints()[0], Precision::F32);
    let mut prefix = Prefix::default();
    runner.prefill(&mut prefix, &[1, 2, 3], |_| {}).unwrap();
    let chunk = runner.export(&prefix, 0..3).unwrap();
    let error = runner.import(&[1, 2], std::slice::from_ref(&chunk)).unwrap_err();
    assert!(error.to_string().contains("chunks hold 3 tokens where 2 are named"));
    let error = runner.append(&mut prefix, &[1, 2], &chunk).unwrap_err();
    assert!(error.to_string().contains("a chunk holds 3 tokens where 2 are named"));
    assert_eq!(prefix.tokens(), [1, 2, 3], "as it was");
    let other = common::runner(&checkpoints()[0], Precision::Bf16);
    assert_eq!(other.import(&[1, 2, 3], &[chunk]).unwrap_err().kind(), ErrorKind::Invalid);
}
