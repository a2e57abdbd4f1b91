//! The index as the store has it at start-up.

use std::collections::BTreeMap;

use kvdepot_proto::{ChunkId, Fingerprint, KvSpec, Result};

use crate::clock::UnixMs;
use crate::index::{ChunkFacts, Index};
use crate::store::{ChunkRow, Store};

/// What start-up found besides the index.
pub(super) struct Recovered {
    pub(super) specs: BTreeMap<Fingerprint, KvSpec>,
    pub(super) next_instance: u64,
    pub(super) quarantined_chunks: u64,
}

/// Fills the index with the chunks of the store; chunks that cannot be read, and those that follow them, are removed.
pub(super) fn recover(store: &Store, index: &mut Index) -> Result<Recovered> {
    let mut uses = BTreeMap::new();
    store.scan_uses(|id, used| {
        uses.insert(id, used);
    })?;
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    store.scan_chunks(|id, row| match row {
        Ok(row) => readable.push(facts(id, &row, uses.get(&id).copied())),
        Err(error) => {
            tracing::error!(chunk = %id, %error, "quarantined a chunk");
            unreadable.push(id);
        }
    })?;
    let next_instance = readable.iter().map(|chunk| chunk.instance.saturating_add(1)).max().unwrap_or(0);
    let unlinked = link(index, readable);
    let quarantined_chunks = (unlinked.len() + unreadable.len()) as u64;
    store.remove(&unlinked, &[])?;
    store.remove_unreadable(&unreadable)?;
    Ok(Recovered { specs: load_specs(store)?, next_instance, quarantined_chunks })
}

/// Inserts parents before children; gives the chunks that follow none.
fn link(index: &mut Index, mut chunks: Vec<ChunkFacts>) -> Vec<(ChunkId, u64)> {
    chunks.sort_by_key(|chunk| chunk.start_token);
    let mut unlinked = Vec::new();
    for chunk in chunks {
        let name = (chunk.id, chunk.instance);
        if let Err(error) = index.insert(chunk) {
            tracing::error!(%error, "quarantined a chunk");
            unlinked.push(name);
        }
    }
    unlinked
}

fn load_specs(store: &Store) -> Result<BTreeMap<Fingerprint, KvSpec>> {
    let mut specs = BTreeMap::new();
    store.scan_specs(|spec| match spec {
        Ok(spec) => {
            specs.insert(spec.fingerprint(), spec);
        }
        Err(error) => tracing::error!(%error, "cannot read a spec"),
    })?;
    Ok(specs)
}

/// What the index keeps of a row.
pub(super) fn facts(id: ChunkId, row: &ChunkRow, used: Option<UnixMs>) -> ChunkFacts {
    ChunkFacts {
        id,
        parent: row.parent,
        start_token: row.start_token,
        num_tokens: row.num_tokens(),
        stored_bytes: row.content.stored_bytes(),
        instance: row.instance,
        fingerprint: row.fingerprint,
        last_used: used.unwrap_or(0).max(row.created),
    }
}
