//! The depot, as a batch sees it: KV is fetched ahead of its turn, and what was computed goes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kvdepot_client::{Prefetch, Prefetched};
use kvdepot_engine::{Arrival, Computed, KvSource, Load, LoadedChunk, Runner};
use kvdepot_proto::Scope;
use serde::Serialize;

use crate::cli::depot::Depot;
use crate::cli::keeper::{Keeper, Kept};

/// Most prefixes that are on their way at a time.
const MOST_LOADS: usize = 8;
/// Most KV that is on its way at a time, if it is more than one prefix: it waits decoded until its turn.
const MOST_LOAD_BYTES: usize = 1 << 30;

/// For how long what the depot has is kept there: long enough for the first loads to begin.
const LEASE: Duration = Duration::from_secs(300);

/// A depot that a batch loads from, and puts into.
pub(super) struct DepotSource<'a> {
    runner: &'a Runner,
    depot: Arc<Depot>,
    scope: Scope,
    /// None where nothing is to be put.
    keeper: Option<Keeper>,
    /// Learned with the first answer.
    chunk_tokens: usize,
    ahead: HashMap<usize, Ahead>,
    report: DepotReport,
}

/// A prefix on its way.
struct Ahead {
    prefetch: Prefetch,
    kv_bytes: usize,
}

/// What the depot gave and got.
#[derive(Debug, Default, Serialize)]
pub(in crate::cli) struct DepotReport {
    /// Bytes that came over the data plane.
    pub(super) payload_bytes: u64,
    /// Why the depot was not used any more, or KV that it had was computed.
    pub(super) failure: Option<String>,
    pub(super) kept: Kept,
}

impl<'a> DepotSource<'a> {
    pub(super) fn new(runner: &'a Runner, depot: Arc<Depot>, scope: Scope, keeper: Option<Keeper>) -> Self {
        let report = DepotReport::default();
        Self { runner, depot, scope, keeper, chunk_tokens: 0, ahead: HashMap::new(), report }
    }

    /// Waits until everything is put, and tells what the depot gave and got.
    pub(super) fn finish(self) -> DepotReport {
        let kept = self.keeper.map(Keeper::finish).unwrap_or_default();
        DepotReport { kept, ..self.report }
    }

    fn note_failure(&mut self, failure: String) {
        tracing::warn!(failure, "the depot is not used");
        self.report.failure.get_or_insert(failure);
    }

    /// Takes a load off the list.
    fn end(&mut self, prefix: usize) {
        if let Some(ahead) = self.ahead.remove(&prefix) {
            self.report.payload_bytes += ahead.prefetch.payload_bytes();
        }
    }
}

impl KvSource for DepotSource<'_> {
    fn stored_tokens(&mut self, contexts: &[&[u32]]) -> Vec<usize> {
        match self.depot.matches(&self.scope, contexts, LEASE) {
            Ok(found) => {
                self.chunk_tokens = found.first().map_or(0, |found| found.chunk_tokens);
                found.iter().map(|found| found.matched_tokens).collect()
            }
            Err(error) => {
                self.note_failure(error.to_string());
                vec![0; contexts.len()]
            }
        }
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.ahead.values().map(|ahead| ahead.kv_bytes).sum();
        self.ahead.is_empty() || (self.ahead.len() < MOST_LOADS && bytes < MOST_LOAD_BYTES)
    }

    fn begin(&mut self, load: Load<'_>) {
        let chunk_tokens = self.chunk_tokens.max(1);
        let skip_chunks = u32::try_from(load.start / chunk_tokens).unwrap_or(u32::MAX);
        // The chunk that the last token is in, whole.
        let end = load.end.next_multiple_of(chunk_tokens).min(load.context.len());
        let prefetch = self.depot.prefetch((&self.scope, &load.context[..end]), skip_chunks, chunk_tokens);
        let kv_bytes = self.runner.geometry().kv_bytes(end - load.start);
        self.ahead.insert(load.prefix, Ahead { prefetch, kv_bytes });
    }

    fn poll(&mut self, prefix: usize, held_tokens: usize) -> Arrival {
        let Some(ahead) = self.ahead.get(&prefix) else { return Arrival::Ready(Vec::new()) };
        let arrival = match ahead.prefetch.take(held_tokens) {
            Prefetched::Pending(left) => return Arrival::Pending(left),
            Prefetched::Ready(chunks) => chunks.into_iter().map(|(start, kv)| LoadedChunk { start, kv }).collect(),
            Prefetched::Failed(failure) => {
                self.note_failure(failure);
                Vec::new()
            }
        };
        self.end(prefix);
        Arrival::Ready(arrival)
    }

    fn wait(&mut self, prefix: usize, most: Duration) {
        if let Some(ahead) = self.ahead.get(&prefix) {
            ahead.prefetch.wait(most);
        }
    }

    fn forget(&mut self, prefix: usize) {
        self.end(prefix);
    }

    fn offer(&mut self, computed: Computed<'_>) {
        let Some(keeper) = &mut self.keeper else { return };
        // What was built on lossy KV must not pass for what the model computes.
        if computed.is_built_on_loaded && self.scope.lossy {
            return;
        }
        keeper.offer(&computed, computed.stored_tokens);
    }
}
