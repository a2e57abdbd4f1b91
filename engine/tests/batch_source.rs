//! Promise: a batch that loads KV gives what it would compute, bit for bit, however late, little or broken comes what it loads.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{bundled, checkpoints, greedy, runner, runner_with};
use kvdepot_engine::{
    Arrival, BatchObserver, BatchReport, Completion, Computed, Ended, KvSource, Load, LoadedChunk, NoSource, Precision,
    Prefix, Request, Runner, Settings, Sharing,
};

const CHUNK_TOKENS: usize = 48;

/// KV of contexts in memory, which comes as it is told to.
struct Store<'a> {
    /// Computed what it gives.
    runner: &'a Runner,
    contexts: Vec<Vec<u32>>,
    comes: Comes,
    loads: HashMap<usize, Vec<u32>>,
    starts: HashMap<usize, usize>,
    polls: usize,
    waits: usize,
    offered: Vec<(Vec<u32>, bool)>,
}

/// How it comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Comes {
    AtOnce,
    /// When it was asked for so often.
    After(usize),
    /// Never, and nobody says so.
    Never,
    /// Not at all.
    Fails,
    /// Only its first chunk.
    Part,
    /// Of another shape.
    Unsound,
}

impl<'a> Store<'a> {
    fn new(runner: &'a Runner, contexts: &[Vec<u32>], comes: Comes) -> Self {
        Self {
            runner,
            contexts: contexts.to_vec(),
            comes,
            loads: HashMap::new(),
            starts: HashMap::new(),
            polls: 0,
            waits: 0,
            offered: Vec::new(),
        }
    }

    /// Whole chunks from the one on that holds `start`.
    fn chunks(&self, tokens: &[u32], start: usize) -> Vec<LoadedChunk> {
        let mut prefix = Prefix::default();
        self.runner.prefill(&mut prefix, tokens, |_| {}).unwrap();
        let starts = (start / CHUNK_TOKENS * CHUNK_TOKENS..tokens.len()).step_by(CHUNK_TOKENS);
        let end = |start: usize| tokens.len().min(start + CHUNK_TOKENS);
        starts.map(|start| LoadedChunk { start, kv: self.runner.export(&prefix, start..end(start)).unwrap() }).collect()
    }
}

impl KvSource for Store<'_> {
    fn stored_tokens(&mut self, contexts: &[&[u32]]) -> Vec<usize> {
        let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let stored = |context: &&[u32]| self.contexts.iter().map(|stored| common(stored, context)).max().unwrap();
        contexts.iter().map(|context| stored(context) / CHUNK_TOKENS * CHUNK_TOKENS).collect()
    }

    fn has_room(&self) -> bool {
        self.loads.len() < 2
    }

    fn begin(&mut self, load: Load<'_>) {
        assert!(self.has_room() && load.start < load.end && load.end <= load.context.len());
        let end = load.end.next_multiple_of(CHUNK_TOKENS);
        assert!(self.loads.insert(load.prefix, load.context[..end].to_vec()).is_none(), "twice");
        self.starts.insert(load.prefix, load.start);
    }

    fn poll(&mut self, prefix: usize, held_tokens: usize) -> Arrival {
        self.polls += 1;
        let tokens = self.loads[&prefix].clone();
        assert!(held_tokens >= self.starts[&prefix]);
        let chunks = match self.comes {
            Comes::Never => return Arrival::Pending(None),
            Comes::After(polls) if self.polls < polls => return Arrival::Pending(Some(Duration::from_secs(9))),
            Comes::Fails => Vec::new(),
            Comes::Unsound => {
                let other = runner(&checkpoints()[0], Precision::Bf16);
                let kv = other.export(&computed(&other, &[1; CHUNK_TOKENS]), 0..CHUNK_TOKENS).unwrap();
                vec![LoadedChunk { start: 0, kv }]
            }
            Comes::Part => self.chunks(&tokens, held_tokens).into_iter().take(1).collect(),
            Comes::AtOnce | Comes::After(_) => self.chunks(&tokens, held_tokens),
        };
        self.loads.remove(&prefix);
        Arrival::Ready(chunks)
    }

    fn wait(&mut self, prefix: usize, most: Duration) {
        assert!(self.loads.contains_key(&prefix), "{:?}: {prefix} of {:?}", self.comes, self.loads.keys());
        std::thread::sleep(most.min(Duration::from_millis(20)));
        self.waits += 1;
    }

    fn forget(&mut self, prefix: usize) {
        self.loads.remove(&prefix).unwrap();
    }

    fn offer(&mut self, computed: Computed<'_>) {
        let kv = computed.export(0..computed.tokens.len()).unwrap();
        let alone =
            self.runner.export(&self::computed(self.runner, computed.tokens), 0..computed.tokens.len()).unwrap();
        assert_eq!(kv, alone);
        self.offered.push((computed.tokens.to_vec(), computed.is_built_on_loaded));
    }
}

fn computed(runner: &Runner, tokens: &[u32]) -> Prefix {
    let mut prefix = Prefix::default();
    runner.prefill(&mut prefix, tokens, |_| {}).unwrap();
    prefix
}

#[derive(Default)]
struct Seen(HashMap<usize, (usize, kvdepot_engine::Result<Completion>)>);

impl BatchObserver for Seen {
    fn end(&mut self, ended: Ended) {
        assert!(self.0.insert(ended.request, (ended.reused_tokens, ended.outcome)).is_none(), "twice");
    }
}

fn run(runner: &Runner, requests: &[Request], source: &mut impl KvSource) -> (Vec<Option<Completion>>, BatchReport) {
    let mut seen = Seen::default();
    let report = runner.run_batch(requests, Sharing::On, source, &mut seen).unwrap();
    assert_eq!(runner.pool().used_bytes(), 0);
    ((0..requests.len()).map(|request| seen.0.remove(&request).unwrap().1.ok()).collect(), report)
}

fn tokens(seed: u32, count: usize) -> Vec<u32> {
    (0..count as u32).map(|token| (token * 13 + seed * 101 + token * token * seed) % 900).collect()
}

/// Two groups over one system prompt, and one request by itself.
fn requests() -> Vec<Request> {
    let system = tokens(1, 150);
    let documents = [tokens(2, 100), tokens(3, 170)];
    let mut requests = Vec::new();
    for question in 0..3 {
        for (idx, document) in documents.iter().enumerate() {
            let context = [&system[..], document, &tokens(10 + question, 9 + idx * 40)].concat();
            requests.push(greedy(&context, 3 + idx));
        }
    }
    requests.push(greedy(&tokens(7, 120), 2));
    requests
}

#[test]
fn completions_do_not_depend_on_what_comes() {
    let runner = runner(&bundled(), Precision::F32);
    let requests = requests();
    let (expected, without) = run(&runner, &requests, &mut NoSource);
    assert!(expected.iter().all(Option::is_some) && without.loaded_tokens == 0);
    let contexts: Vec<Vec<u32>> = requests.iter().map(|request| request.suffix.clone()).collect();
    for stored in [&contexts[..1], &contexts[1..4], &contexts[..], &[contexts[0][..100].to_vec()]] {
        for comes in [Comes::AtOnce, Comes::After(9), Comes::Never, Comes::Fails, Comes::Part, Comes::Unsound] {
            let mut store = Store::new(&runner, stored, comes);
            let (completions, report) = run(&runner, &requests, &mut store);
            assert_eq!(completions, expected, "{comes:?}");
            let is_loaded = matches!(comes, Comes::AtOnce | Comes::Part);
            assert!(report.loaded_tokens > 0 || !is_loaded, "{comes:?}");
            if matches!(comes, Comes::Never | Comes::Fails | Comes::Unsound) {
                assert_eq!((report.loaded_tokens, report.prefilled_tokens), (0, without.prefilled_tokens), "{comes:?}");
            }
            assert_eq!(report.prefilled_tokens + report.loaded_tokens, without.prefilled_tokens, "{comes:?}");
        }
    }
}

#[test]
fn all_that_is_stored_is_loaded_and_the_rest_is_offered() {
    let runner = runner(&bundled(), Precision::F32);
    let requests = requests();
    let mut store = Store::new(&runner, &[requests[0].suffix[..240].to_vec()], Comes::AtOnce);
    let (_, report) = run(&runner, &requests, &mut store);
    assert_eq!(report.loaded_tokens, 240, "the system prompt and most of a document, in whole chunks");
    let mut offered: Vec<(usize, bool)> = store.offered.iter().map(|(tokens, built)| (tokens.len(), *built)).collect();
    offered.sort_unstable();
    assert_eq!(offered, [(250, true), (320, true)], "the system prompt was loaded whole");
    let mut empty = Store::new(&runner, &[vec![]], Comes::AtOnce);
    run(&runner, &requests, &mut empty);
    assert!(empty.offered.iter().all(|(_, built)| !built) && empty.offered.len() == 3);
}

#[test]
fn what_is_slow_to_come_is_computed_meanwhile() {
    let runner = runner(&bundled(), Precision::F32);
    let requests = requests();
    let mut store = Store::new(&runner, &[requests[0].suffix.clone()], Comes::Never);
    let (_, report) = run(&runner, &requests, &mut store);
    assert!(store.waits > 0 && report.waited > Duration::ZERO);
    assert_eq!(store.loads.len(), 0, "{:?} are still on their way", store.loads.keys());
}

#[test]
fn loads_of_requests_that_do_not_fit_are_called_off() {
    let runner = runner(&bundled(), Precision::F32);
    let page_bytes = runner.pool().page_bytes();
    let settings = Settings { kv_limit_bytes: 4 * page_bytes, ..Settings::default() };
    let tight = runner_with(&bundled(), Precision::F32, settings);
    let requests = requests();
    let contexts: Vec<Vec<u32>> = requests.iter().map(|request| request.suffix.clone()).collect();
    let mut store = Store::new(&runner, &contexts, Comes::AtOnce);
    let (completions, _) = run(&tight, &requests, &mut store);
    assert_eq!(completions.iter().filter(|completion| completion.is_some()).count(), 1, "the one that is short");
    assert!(store.loads.is_empty());
}
