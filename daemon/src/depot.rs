//! Index and store together: every operation of the depot, without a network. All methods block.
//!
//! Writers (announce, commit, delete, eviction, quarantine) take turns; readers only lease what they read. The index
//! changes first when chunks go and last when they come, so that whoever finds a chunk in it finds it whole on disk.

mod catalog;
mod claims;
mod fetch;
mod leases;
mod miss;
mod put;
mod recovery;
mod remove;
mod segments;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvdepot_proto::{ChunkId, Error, ErrorKind, Fingerprint, KvSpec, Result, Scope};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::catalog::{ChunkStat, ContextPage, ContextSummary, IdPrefix, Inspection};
use self::claims::{Lease, SharedIndex};
pub(crate) use self::fetch::{FetchTarget, LentSegment, Outgoing, StoredSegment};
use self::leases::Leases;
pub(crate) use self::put::{Committed, StagedPut};
pub(crate) use self::remove::{Deleted, Extent};
use self::segments::Segments;
use crate::clock::Clock;
use crate::index::Index;
use crate::settings::StoreSettings;
use crate::store::{ChunkRow, Durability, Store};

/// Most puts in progress at a time; each has a thread while it lasts.
const MAX_PUTS: usize = 64;

/// Every caller is this tenant: there are no credentials yet.
const LOCAL_TENANT: &str = "";

/// The depot of one data directory.
pub(crate) struct Depot {
    store: Store,
    segments: Segments,
    index: SharedIndex,
    leases: Leases,
    specs: Mutex<BTreeMap<Fingerprint, KvSpec>>,
    /// Held by whoever changes the store; the number of the next put.
    next_instance: Mutex<u64>,
    put_slots: Arc<Semaphore>,
    chunk_tokens: u32,
    quota_bytes: Option<u64>,
    clock: Clock,
    counters: Counters,
    /// Dropped after the store: tells that the directory is free again.
    _closed: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Counters {
    matches: AtomicU64,
    asked_tokens: AtomicU64,
    matched_tokens: AtomicU64,
    evicted_chunks: AtomicU64,
    quarantined_chunks: AtomicU64,
}

/// The leading chunks of a context that are stored, kept from eviction while this lives.
pub(crate) struct StoredPrefix {
    /// Ids and rows, in chain order.
    pub(crate) chunks: Vec<(ChunkId, ChunkRow)>,
    /// Why not everything that was asked for is among them; empty when it is.
    pub(crate) miss_reason: String,
    lease: Lease,
}

impl StoredPrefix {
    /// Tokens of the chunks.
    pub(crate) fn num_tokens(&self) -> usize {
        self.chunks.iter().map(|(_, row)| row.tokens.len()).sum()
    }
}

impl Depot {
    /// Opens the depot in the directory `path`; gives also what resolves once it is closed.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open(path: &Path, settings: &StoreSettings, clock: Clock) -> Result<(Self, oneshot::Receiver<()>)> {
        let durability = if settings.sync { Durability::Machine } else { Durability::Process };
        let store = Store::open(path, settings.chunk_tokens, durability)?;
        let quota_bytes = settings.quota_bytes.limit();
        let mut index = Index::new(settings.chunk_tokens, quota_bytes);
        let recovered = recovery::recover(&store, &mut index)?;
        let (closed, on_closed) = oneshot::channel();
        let depot = Self {
            store,
            segments: Segments::new(settings.cache_bytes.0),
            index: SharedIndex::new(index),
            leases: Leases::default(),
            specs: Mutex::new(recovered.specs),
            next_instance: Mutex::new(recovered.next_instance),
            put_slots: Arc::new(Semaphore::new(MAX_PUTS)),
            chunk_tokens: settings.chunk_tokens,
            quota_bytes,
            clock,
            counters: Counters::default(),
            _closed: closed,
        };
        depot.counters.quarantined_chunks.store(recovered.quarantined_chunks, Ordering::Relaxed);
        depot.fit_quota()?;
        Ok((depot, on_closed))
    }

    /// Finds the longest stored prefix of `tokens` and marks it as used.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer. A miss is not an error.
    pub(crate) fn match_prefix(&self, scope: &Scope, tokens: &[u32]) -> Result<StoredPrefix> {
        let key = scope.key(LOCAL_TENANT);
        let mut prefix = self.lease_chain(|index| index.match_prefix(&key, tokens))?;
        self.touch(&prefix);
        if prefix.num_tokens() < tokens.len() {
            prefix.miss_reason = self.miss_reason(scope, tokens.len(), prefix.num_tokens());
        }
        Ok(prefix)
    }

    /// As [`match_prefix`](Self::match_prefix), and counts it.
    pub(crate) fn match_counted(&self, scope: &Scope, tokens: &[u32]) -> Result<StoredPrefix> {
        let prefix = self.match_prefix(scope, tokens)?;
        self.counters.matches.fetch_add(1, Ordering::Relaxed);
        self.counters.asked_tokens.fetch_add(tokens.len() as u64, Ordering::Relaxed);
        self.counters.matched_tokens.fetch_add(prefix.num_tokens() as u64, Ordering::Relaxed);
        Ok(prefix)
    }

    /// Tokens per full chunk.
    pub(crate) fn chunk_tokens(&self) -> u32 {
        self.chunk_tokens
    }

    /// Records the order of use, and makes everything survive the death of the machine.
    ///
    /// # Errors
    /// `Busy` for a full disk, `Unavailable` for other refusals of the system.
    pub(crate) fn flush(&self) -> Result<()> {
        let uses: Vec<_> = self.index.lock().uses().collect();
        self.store.record_uses(&uses)?;
        self.store.sync()
    }

    /// Leases the chain that `find` names, and reads its rows up to the first that cannot be read.
    fn lease_chain(&self, find: impl FnOnce(&Index) -> Vec<ChunkId>) -> Result<StoredPrefix> {
        let lease = Lease::take(&self.index, find);
        let mut chunks = Vec::with_capacity(lease.ids().len());
        for (id, row) in lease.ids().iter().zip(self.store.chunk_rows(lease.ids())?) {
            match row {
                Ok(row) => chunks.push((*id, row)),
                Err(error) => {
                    self.quarantine(id, &error);
                    break;
                }
            }
        }
        Ok(StoredPrefix { chunks, miss_reason: String::new(), lease })
    }

    fn touch(&self, prefix: &StoredPrefix) {
        self.index.lock().touch(prefix.lease.ids(), (self.clock)());
    }

    fn spec(&self, fingerprint: &Fingerprint) -> Result<KvSpec> {
        let missing =
            || Error::new(ErrorKind::Corrupt, format!("spec {fingerprint} of a stored chunk is not readable"));
        self.specs().get(fingerprint).cloned().ok_or_else(missing)
    }

    fn specs(&self) -> MutexGuard<'_, BTreeMap<Fingerprint, KvSpec>> {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer_turn(&self) -> MutexGuard<'_, u64> {
        self.next_instance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
