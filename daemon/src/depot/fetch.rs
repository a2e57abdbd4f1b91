//! Reading contexts back.

use std::sync::Arc;

use bytes::Bytes;
use kvdepot_codec::{Geometry, SegmentKey};
use kvdepot_local::SealedMemory;
use kvdepot_proto::{ChunkContent, ChunkEntry, ChunkId, Error, ErrorKind, KvSpec, Manifest, Result, Scope};

use super::segments::Name;
use super::{Depot, StoredPrefix};
use crate::store::ChunkRow;
use crate::verify::Expected;

/// What to fetch.
pub(crate) enum FetchTarget {
    /// The longest stored prefix of a token sequence.
    Prefix(Scope, Vec<u32>),
    /// The chain from position 0 to a chunk, and what the receiver expects it to be.
    Chunk(ChunkId, Option<Scope>),
}

/// A context on its way out. Its chunks stay while this lives.
pub(crate) struct Outgoing {
    depot: Arc<Depot>,
    manifest: Manifest,
    prefix: StoredPrefix,
    first_chunk: usize,
}

/// A segment as stored, verified, in memory that others on this host may read.
pub(crate) struct LentSegment {
    /// Name inside its chunk.
    pub(crate) key: SegmentKey,
    /// The encoded bytes.
    pub(crate) memory: Arc<SealedMemory>,
}

/// A segment as stored, verified.
pub(crate) struct StoredSegment {
    /// Name inside its chunk.
    pub(crate) key: SegmentKey,
    /// The encoded bytes.
    pub(crate) bytes: Bytes,
}

impl Depot {
    /// Finds what `target` names and leaves out its first `skip_chunks` chunks.
    ///
    /// # Errors
    /// `NotFound` for a chunk that is not stored (a prefix may be empty instead), `Incompatible` when the chunk is
    /// not what the receiver expects.
    pub(crate) fn fetch(self: &Arc<Self>, target: FetchTarget, skip_chunks: usize) -> Result<Outgoing> {
        let (spec, prefix) = match target {
            FetchTarget::Prefix(scope, tokens) => {
                let prefix = self.match_prefix(&scope, &tokens)?;
                (scope.spec, prefix)
            }
            FetchTarget::Chunk(id, expected) => {
                let (spec, prefix) = self.stored_chain(&id, expected.as_ref())?;
                self.touch(&prefix);
                (spec, prefix)
            }
        };
        let first_chunk = skip_chunks.min(prefix.chunks.len());
        let manifest = manifest(spec, prefix.chunks.get(first_chunk..).unwrap_or_default());
        Ok(Outgoing { depot: Arc::clone(self), manifest, prefix, first_chunk })
    }

    /// The chain to a chunk with its spec, held against what the caller expects.
    pub(super) fn stored_chain(&self, id: &ChunkId, expected: Option<&Scope>) -> Result<(KvSpec, StoredPrefix)> {
        let prefix = self.lease_chain(|index| index.chain_to(id).iter().map(|chunk| chunk.id).collect())?;
        let (_, last) = prefix
            .chunks
            .last()
            .filter(|(last, _)| last == id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("chunk {id} is not stored")))?;
        let spec = self.spec(&last.fingerprint)?;
        if let Some(scope) = expected {
            check_expected(id, &spec, scope, &prefix)?;
        }
        Ok((spec, prefix))
    }
}

impl Outgoing {
    /// What is sent, in order.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The contents of the chunks of the manifest.
    pub(crate) fn contents(&self) -> Vec<&ChunkContent> {
        self.manifest.contents()
    }

    /// Reads and verifies some segments of the chunk at `chunk_idx` of the manifest, in the order given.
    ///
    /// # Errors
    /// `Corrupt` when they are not what was put; the chunk is quarantined then. `Unavailable` when the store does not
    /// answer.
    pub(crate) fn read_segments(&self, chunk_idx: u32, keys: &[SegmentKey]) -> Result<Vec<StoredSegment>> {
        let segments = &self.depot.segments;
        self.of_chunk(chunk_idx, keys, |name, read| {
            Ok(StoredSegment { key: name.key, bytes: segments.bytes(name, read)? })
        })
    }

    /// As [`Self::read_segments`], in memory that a receiver on this host may read.
    pub(crate) fn lend_segments(&self, chunk_idx: u32, keys: &[SegmentKey]) -> Result<Vec<LentSegment>> {
        let segments = &self.depot.segments;
        self.of_chunk(chunk_idx, keys, |name, read| {
            Ok(LentSegment { key: name.key, memory: segments.memory(name, read)? })
        })
    }

    /// Some segments of a chunk; `take` gets the name of each, and how it is read from the store.
    fn of_chunk<T>(
        &self,
        chunk_idx: u32,
        keys: &[SegmentKey],
        take: impl Fn(Name, &dyn Fn() -> Result<Bytes>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (id, row) = self
            .prefix
            .chunks
            .get(self.first_chunk.saturating_add(chunk_idx as usize))
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("chunk {chunk_idx} is not in the manifest")))?;
        let geometry = self.manifest.spec.geometry;
        let taken = keys.iter().map(|&key| {
            let name = Name { chunk: *id, instance: row.instance, key };
            take(name, &|| self.depot.read_verified(&name, row, geometry))
        });
        let taken = taken.collect();
        if let Err(error) = &taken
            && error.kind() == ErrorKind::Corrupt
        {
            self.depot.quarantine(id, error);
        }
        taken
    }
}

impl Depot {
    fn read_verified(&self, name: &Name, row: &ChunkRow, geometry: Geometry) -> Result<Bytes> {
        let Name { chunk, instance, key } = name;
        let expected = Expected { geometry, num_tokens: row.num_tokens(), level: row.content.level };
        let bytes = self.store.segment(chunk, *instance, *key)?;
        expected
            .verify(*key, &bytes)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("segment {key:?} of chunk {chunk}: {error}")))?;
        Ok(bytes)
    }
}

fn check_expected(id: &ChunkId, spec: &KvSpec, scope: &Scope, prefix: &StoredPrefix) -> Result<()> {
    let incompatible = |message| Err(Error::new(ErrorKind::Incompatible, message));
    if let Some(difference) = spec.difference(&scope.spec) {
        return incompatible(format!("chunk {id} has another spec: {difference}"));
    }
    match prefix.chunks.iter().find(|(_, row)| !scope.accepts(row.content.level)) {
        Some((_, row)) => {
            incompatible(format!("chunk {id} is stored with {}, which the exact scope refuses", row.content.level))
        }
        None => Ok(()),
    }
}

pub(super) fn manifest(spec: KvSpec, chunks: &[(ChunkId, ChunkRow)]) -> Manifest {
    Manifest {
        spec,
        tokens: chunks.iter().flat_map(|(_, row)| &row.tokens).copied().collect(),
        chunks: chunks.iter().map(|(id, row)| entry(id, row)).collect(),
    }
}

/// A stored chunk as messages name it.
pub(super) fn entry(id: &ChunkId, row: &ChunkRow) -> ChunkEntry {
    ChunkEntry {
        id: *id,
        start_token: row.start_token,
        num_tokens: row.num_tokens(),
        content: row.content.clone(),
        instance: row.instance,
    }
}

impl StoredPrefix {
    /// The chunks as messages name them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = ChunkEntry> {
        self.chunks.iter().map(|(id, row)| entry(id, row))
    }
}
