//! Promise: a result is a function of its own tokens, bit for bit: not of how a prefill is cut, of who shares the batch,
//! of sharing itself, of threads, or of KV having been away.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{BOTH, bundled, checkpoints, greedy, references, runner, runner_with};
use kvdepot_engine::{Completion, Prefix, Request, Runner, Sampling, Settings, Sharing};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn tokens(seed: u64, count: usize, vocab: usize) -> Vec<u32> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab as u64) as u32
    };
    (0..count).map(|_| next()).collect()
}

/// Prefills in pieces that end at `cuts`.
fn prefilled(runner: &Runner, tokens: &[u32], cuts: &[usize]) -> Prefix {
    let mut prefix = Prefix::default();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (tokens.len() + 1)).chain([tokens.len()]).collect();
    ends.sort();
    for end in ends {
        let done = prefix.tokens().len();
        runner.prefill(&mut prefix, &tokens[done..end], |_| {}).unwrap();
    }
    prefix
}

fn decode(runner: &Runner, prefix: &Prefix, requests: &[Request], sharing: Sharing) -> Vec<Completion> {
    runner.decode_group(prefix, requests, sharing).unwrap().completions
}

fn runners() -> Vec<Runner> {
    checkpoints().iter().flat_map(|dir| BOTH.map(|precision| runner(dir, precision))).collect()
}

fn config() -> ProptestConfig {
    let failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")) as Box<_>);
    ProptestConfig { cases: 6, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn kv_and_logits_do_not_depend_on_how_the_prefill_is_cut(
        seed: u64, count in 1usize..200, cuts in prop::collection::vec(any::<usize>(), 0..6), step in 1usize..100,
    ) {
        for dir in checkpoints() {
            for precision in BOTH {
                let whole = runner(&dir, precision);
                let cut = runner_with(&dir, precision, Settings { step_tokens: step, ..Settings::default() });
                let tokens = tokens(seed, count, whole.model().config().vocab_size);
                let expected = whole.export(&prefilled(&whole, &tokens, &[]), 0..count).unwrap();
                prop_assert_eq!(&cut.export(&prefilled(&cut, &tokens, &cuts), 0..count).unwrap(), &expected);
                let by_one: Vec<usize> = (0..count).collect();
                prop_assert_eq!(&whole.export(&prefilled(&whole, &tokens, &by_one), 0..count).unwrap(), &expected);
                prop_assert_eq!(whole.last_logits(&tokens).unwrap(), cut.last_logits(&tokens).unwrap());
            }
        }
    }

    #[test]
    fn completions_do_not_depend_on_the_group_or_on_sharing(
        seed: u64, prefix_tokens in 0usize..170, suffixes in prop::collection::vec(0usize..40, 1..7),
    ) {
        for runner in runners() {
            let vocab = runner.model().config().vocab_size;
            let prefix = prefilled(&runner, &tokens(seed, prefix_tokens, vocab), &[]);
            let request = |(idx, &count): (usize, &usize)| Request {
                sampling: Sampling { temperature: idx as f32 * 0.5, seed, ..Sampling::default() },
                ..greedy(&tokens(seed ^ idx as u64, count.max(1), vocab), 1 + (seed as usize + idx * 5) % 17)
            };
            let requests: Vec<Request> = suffixes.iter().enumerate().map(request).collect();
            let shared = decode(&runner, &prefix, &requests, Sharing::On);
            prop_assert_eq!(&decode(&runner, &prefix, &requests, Sharing::Off), &shared);
            for (request, expected) in requests.iter().zip(&shared) {
                let alone = decode(&runner, &prefix, std::slice::from_ref(request), Sharing::On);
                prop_assert_eq!(&alone[0], expected);
                let whole = [prefix.tokens(), &request.suffix].concat();
                let from_scratch = Request { suffix: whole, ..request.clone() };
                prop_assert_eq!(&decode(&runner, &Prefix::default(), &[from_scratch], Sharing::Off)[0], expected);
            }
        }
    }

    #[test]
    fn an_imported_prefix_goes_on_as_a_computed_one(seed: u64, count in 2usize..200, cut in 1usize..199, chunk in 1usize..90) {
        for runner in runners() {
            let tokens = tokens(seed, count, runner.model().config().vocab_size);
            let computed = prefilled(&runner, &tokens, &[]);
            let imported_tokens = cut.min(count);
            let chunks: Vec<_> = (0..imported_tokens)
                .step_by(chunk)
                .map(|start| runner.export(&computed, start..(start + chunk).min(imported_tokens)).unwrap())
                .collect();
            let mut imported = runner.import(&tokens[..imported_tokens], &chunks).unwrap();
            runner.prefill(&mut imported, &tokens[imported_tokens..], |_| {}).unwrap();
            prop_assert_eq!(runner.export(&imported, 0..count).unwrap(), runner.export(&computed, 0..count).unwrap());
            if imported_tokens < count {
                // And the other way round: the front computed, the rest brought.
                let mut met = prefilled(&runner, &tokens[..imported_tokens], &[]);
                let rest = runner.export(&computed, imported_tokens..count).unwrap();
                runner.append(&mut met, &tokens[imported_tokens..], &rest).unwrap();
                prop_assert_eq!(runner.export(&met, 0..count).unwrap(), runner.export(&computed, 0..count).unwrap());
            }
            let requests = [greedy(&[], 9), greedy(&[1, 2, 3], 5)];
            prop_assert_eq!(
                decode(&runner, &imported, &requests, Sharing::On),
                decode(&runner, &computed, &requests, Sharing::On)
            );
        }
    }

    #[test]
    fn logits_of_a_continuation_are_those_of_each_token_alone(seed: u64, count in 2usize..120, cut in 1usize..119, step in 1usize..50) {
        for dir in checkpoints() {
            for precision in BOTH {
                let runner = runner_with(&dir, precision, Settings { step_tokens: step, ..Settings::default() });
                let tokens = tokens(seed, count, runner.model().config().vocab_size);
                let (context, continuation) = tokens.split_at(cut.min(count - 1));
                let prefix = prefilled(&runner, context, &[]);
                let logits = runner.continuation_logits(&prefix, continuation).unwrap();
                prop_assert_eq!(logits.num_tokens(), continuation.len());
                for idx in [0, continuation.len() / 2, continuation.len() - 1] {
                    let before = &tokens[..context.len() + idx];
                    prop_assert_eq!(logits.row(idx), &runner.last_logits(before).unwrap()[..]);
                }
            }
        }
    }
}

#[test]
fn the_bundled_model_decodes_the_same_on_any_number_of_threads_shared_or_not() {
    let prompt = references(&bundled()).into_iter().map(|reference| reference.prompt).max_by_key(Vec::len).unwrap();
    for precision in BOTH {
        let runner = runner(&bundled(), precision);
        let requests: Vec<Request> = (1..24).map(|token| greedy(&[token * 50, 3, token], 6)).collect();
        let results: Vec<_> = [(1, Sharing::On), (2, Sharing::Off), (5, Sharing::On)]
            .map(|(threads, sharing)| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| decode(&runner, &prefilled(&runner, &prompt, &[]), &requests, sharing))
            })
            .into();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{precision}");
    }
}
