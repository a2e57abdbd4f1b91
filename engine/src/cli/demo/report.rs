//! What the demo measured.

use std::collections::HashMap;

use kvdepot_codec::Level;
use serde::Serialize;

use crate::cli::ask::Answers;
use crate::cli::report::Outcome;
use crate::cli::store::Stored;

/// What the demo measured.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Report {
    #[serde(serialize_with = "level_name")]
    pub(super) level: Level,
    pub(super) context_tokens: usize,
    /// KV of the context in memory.
    pub(super) raw_kv_bytes: u64,
    /// The same in the depot.
    pub(super) stored_bytes: u64,
    /// Time to first token of the first request when the context is prefilled.
    pub(super) ttft_recompute_ms: f64,
    /// The same when the context is fetched.
    pub(super) ttft_fetch_ms: f64,
    pub(super) requests: usize,
    /// Whether every request got the same tokens from the depot's KV as from scratch.
    pub(super) outputs_identical: bool,
    pub(super) identical_requests: usize,
    /// Whether the whole context was there after the daemon was killed and started again.
    pub(super) survived_kill: bool,
    pub(super) decode_tokens_per_sec_shared: f64,
    pub(super) decode_tokens_per_sec_unshared: f64,
}

impl Report {
    /// Holds the run over the depot against the run from scratch.
    pub(super) fn new(level: Level, stored: &Stored, fetched: &Answers, scratch: &Answers) -> Self {
        let expected: HashMap<_, _> = scratch.answers.iter().map(|c| (&c.id, &c.tokens)).collect();
        let identical = fetched.answers.iter().filter(|c| expected.get(&c.id) == Some(&&c.tokens)).count();
        Self {
            level,
            context_tokens: stored.context_tokens,
            raw_kv_bytes: stored.raw_kv_bytes,
            stored_bytes: stored.stored_bytes,
            ttft_recompute_ms: scratch.ttft_ms,
            ttft_fetch_ms: fetched.ttft_ms,
            requests: scratch.answers.len(),
            outputs_identical: identical == scratch.answers.len() && fetched.answers.len() == identical,
            identical_requests: identical,
            survived_kill: fetched.cached_tokens == stored.context_tokens,
            decode_tokens_per_sec_shared: fetched.decode_tokens_per_sec,
            decode_tokens_per_sec_unshared: scratch.decode_tokens_per_sec,
        }
    }
}

impl Outcome for Report {
    fn failure(&self) -> Option<String> {
        if !self.survived_kill {
            return Some("the context did not survive kill -9 of the daemon".to_owned());
        }
        let broken = self.level.is_lossless() && !self.outputs_identical;
        broken.then(|| {
            let (same, all) = (self.identical_requests, self.requests);
            format!("level {} is lossless, but only {same} of {all} outputs are identical", self.level)
        })
    }
}

fn level_name<S: serde::Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(level.name())
}
