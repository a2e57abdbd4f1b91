//! Chunks on disk. Owns the rows and their keys; knows nothing of quota, leases or the order of use.
//!
//! A put writes its segments under a fresh instance number, where nobody looks, after a staging row that names its
//! chunks. One batch then makes its chunks visible and removes the staging row. What an interrupted put left behind is
//! found by its staging row at the next start: a scan of the segments would read every blob.

mod rocks;
mod row;

#[cfg(test)]
mod tests;

use std::path::Path;

use bytes::Bytes;
use kvdepot_codec::SegmentKey;
use kvdepot_proto::{ChunkId, Error, ErrorKind, Fingerprint, KvSpec, Result};

pub(crate) use self::rocks::Durability;
use self::rocks::{Batch, Column, Rocks};
pub(crate) use self::row::ChunkRow;
use crate::clock::UnixMs;

/// Version of keys and rows. Others are refused.
const SCHEMA: u32 = 1;

/// Chunks, specs and staged segments in one directory.
pub(crate) struct Store {
    rocks: Rocks,
    durability: Durability,
}

/// Everything that one commit changes, together.
pub(crate) struct Commit<'a> {
    /// Number of the put.
    pub(crate) instance: u64,
    /// Chunks that become visible.
    pub(crate) visible: &'a [(ChunkId, ChunkRow)],
    /// Staged chunks that another put made visible first.
    pub(crate) duplicate: &'a [ChunkId],
    /// Spec of all of them.
    pub(crate) spec: &'a KvSpec,
}

impl Store {
    /// Opens the store in the directory `path`, made if missing, and cleans up after interrupted puts.
    ///
    /// # Errors
    /// `Unavailable` when it is in use or the system refuses, `Incompatible` when it was made by another version or
    /// with other `chunk_tokens`, `Corrupt` when it cannot be read.
    pub(crate) fn open(path: &Path, chunk_tokens: u32, durability: Durability) -> Result<Self> {
        let store = Self { rocks: Rocks::open(path)?, durability };
        store.check_meta("schema", SCHEMA, path)?;
        store.check_meta("chunk_tokens", chunk_tokens, path)?;
        store.drop_interrupted_puts()?;
        Ok(store)
    }

    /// Calls `visit` with every chunk's key and what its row says.
    pub(crate) fn scan_chunks(&self, mut visit: impl FnMut(ChunkId, Result<ChunkRow>)) -> Result<()> {
        self.rocks.scan(Column::Chunks, |key, value| {
            let id = ChunkId::from_slice(key)?;
            visit(id, ChunkRow::unseal(&id, value));
            Ok(())
        })
    }

    /// Calls `visit` with every spec that can be read, and with the error for each that cannot.
    pub(crate) fn scan_specs(&self, mut visit: impl FnMut(Result<KvSpec>)) -> Result<()> {
        self.rocks.scan(Column::Specs, |key, value| {
            visit(row::unseal_spec(key, value));
            Ok(())
        })
    }

    /// Calls `visit` with the last use of every chunk that has one recorded.
    pub(crate) fn scan_uses(&self, mut visit: impl FnMut(ChunkId, UnixMs)) -> Result<()> {
        self.rocks.scan(Column::Uses, |key, value| {
            if let (Ok(id), Ok(used)) = (ChunkId::from_slice(key), value.try_into()) {
                visit(id, UnixMs::from_be_bytes(used));
            }
            Ok(())
        })
    }

    /// The row of each chunk, in order; `NotFound` for those without one, `Corrupt` for those that do not read.
    pub(crate) fn chunk_rows(&self, ids: &[ChunkId]) -> Result<Vec<Result<ChunkRow>>> {
        let keys: Vec<_> = ids.iter().map(ChunkId::as_bytes).collect();
        let values = self.rocks.read_all(Column::Chunks, &keys)?;
        let parse = |(id, value): (&ChunkId, Option<Vec<u8>>)| match value {
            Some(value) => ChunkRow::unseal(id, &value),
            None => Err(Error::new(ErrorKind::NotFound, format!("chunk {id} is not stored"))),
        };
        Ok(ids.iter().zip(values).map(parse).collect())
    }

    /// Bytes of a segment, not verified.
    ///
    /// # Errors
    /// `Corrupt` when they are missing or RocksDB's checksum does not hold.
    pub(crate) fn segment(&self, id: &ChunkId, instance: u64, key: SegmentKey) -> Result<Bytes> {
        match self.rocks.read(Column::Segments, &segment_row_key(id, instance, key))? {
            Some(bytes) => Ok(bytes.into()),
            None => Err(Error::new(ErrorKind::Corrupt, format!("segment {key:?} of chunk {id} is missing"))),
        }
    }

    /// Checks that the disk has room for `bytes` of segments more.
    ///
    /// # Errors
    /// `Busy` when it has not.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<()> {
        self.rocks.check_room(bytes)
    }

    /// Announces that put `instance` will stage segments of `ids`.
    pub(crate) fn begin_staging(&self, instance: u64, ids: &[ChunkId]) -> Result<()> {
        self.rocks.put(Column::Staging, &instance.to_be_bytes(), &row::seal_staging(instance, ids))
    }

    /// Writes a segment where only a commit of `instance` makes it visible.
    pub(crate) fn stage(&self, id: &ChunkId, instance: u64, key: SegmentKey, bytes: &[u8]) -> Result<()> {
        self.rocks.put(Column::Segments, &segment_row_key(id, instance, key), bytes)
    }

    /// Makes a put visible, by one write.
    pub(crate) fn commit(&self, commit: &Commit<'_>) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(Column::Specs, commit.spec.fingerprint(), row::seal_spec(commit.spec));
        for (id, row) in commit.visible {
            batch.put(Column::Chunks, *id, row.seal(id));
            batch.put(Column::Uses, *id, row.created.to_be_bytes());
        }
        drop_staged(&mut batch, commit.instance, commit.duplicate);
        self.rocks.write(batch, self.durability)
    }

    /// Removes what put `instance` staged.
    pub(crate) fn abort(&self, instance: u64, staged: &[ChunkId]) -> Result<()> {
        let mut batch = Batch::default();
        drop_staged(&mut batch, instance, staged);
        self.rocks.write(batch, Durability::Process)
    }

    /// Removes chunks, each with the instance that wrote its segments, and specs, by one write.
    pub(crate) fn remove(&self, chunks: &[(ChunkId, u64)], specs: &[Fingerprint]) -> Result<()> {
        let mut batch = Batch::default();
        for (id, instance) in chunks {
            drop_rows(&mut batch, id);
            batch.delete_prefix(Column::Segments, instance_prefix(id, *instance));
        }
        specs.iter().for_each(|fingerprint| batch.delete(Column::Specs, *fingerprint));
        self.rocks.write(batch, Durability::Process)
    }

    /// Removes chunks whose rows do not say which instance wrote their segments. Call it while no put is staging.
    pub(crate) fn remove_unreadable(&self, ids: &[ChunkId]) -> Result<()> {
        let mut batch = Batch::default();
        for id in ids {
            drop_rows(&mut batch, id);
            batch.delete_prefix(Column::Segments, *id);
        }
        self.rocks.write(batch, Durability::Process)
    }

    /// Records the last use of chunks.
    pub(crate) fn record_uses(&self, uses: &[(ChunkId, UnixMs)]) -> Result<()> {
        let mut batch = Batch::default();
        uses.iter().for_each(|(id, used)| batch.put(Column::Uses, *id, used.to_be_bytes()));
        self.rocks.write(batch, Durability::Process)
    }

    /// Makes everything survive the death of the machine.
    pub(crate) fn sync(&self) -> Result<()> {
        self.rocks.sync()
    }

    fn check_meta(&self, name: &str, expected: u32, path: &Path) -> Result<()> {
        let path = path.display();
        match self.rocks.read(Column::Meta, name.as_bytes())? {
            None => self.rocks.put(Column::Meta, name.as_bytes(), &expected.to_be_bytes()),
            Some(found) if found == expected.to_be_bytes() => Ok(()),
            Some(found) => {
                let found = <[u8; 4]>::try_from(found.as_slice()).map(u32::from_be_bytes).map_err(|_| {
                    Error::new(ErrorKind::Corrupt, format!("store {path}: {name} has {} bytes", found.len()))
                })?;
                let message = format!("store {path} was made with {name} {found}, this daemon has {expected}");
                Err(Error::new(ErrorKind::Incompatible, message))
            }
        }
    }

    fn drop_interrupted_puts(&self) -> Result<()> {
        let mut batch = Batch::default();
        self.rocks.scan(Column::Staging, |key, value| {
            let interrupted = row::unseal_staging(key, value);
            if let Err(error) = &interrupted {
                tracing::warn!(%error, "cannot tell what an interrupted put left behind");
            }
            for id in interrupted.into_iter().flatten() {
                batch.delete_prefix(Column::Segments, [id.as_bytes().as_slice(), key].concat());
            }
            batch.delete(Column::Staging, key);
            Ok(())
        })?;
        self.rocks.write(batch, Durability::Process)
    }
}

fn drop_rows(batch: &mut Batch, id: &ChunkId) {
    batch.delete(Column::Chunks, *id);
    batch.delete(Column::Uses, *id);
}

fn drop_staged(batch: &mut Batch, instance: u64, staged: &[ChunkId]) {
    staged.iter().for_each(|id| batch.delete_prefix(Column::Segments, instance_prefix(id, instance)));
    batch.delete(Column::Staging, instance.to_be_bytes());
}

fn instance_prefix(id: &ChunkId, instance: u64) -> Vec<u8> {
    [id.as_bytes().as_slice(), &instance.to_be_bytes()].concat()
}

/// Chunk, instance, quality, layer group, side; numbers big-endian.
fn segment_row_key(id: &ChunkId, instance: u64, key: SegmentKey) -> Vec<u8> {
    let mut row_key = instance_prefix(id, instance);
    row_key.push(key.quality);
    row_key.extend_from_slice(&key.layer_group.to_be_bytes());
    row_key.push(key.side as u8);
    row_key
}
