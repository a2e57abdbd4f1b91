//! RocksDB as an ordered store of bytes in columns. No other file knows its types.
//!
//! Segments are in BlobDB; no compression, for they are coded already. The write-ahead log is on, so that what was
//! written survives the death of the process, and all columns are flushed together, so that what survives the death of
//! the machine is a prefix of the writes in every column alike.

use std::path::{Path, PathBuf};

use kvdepot_proto::{Error, ErrorKind, Result};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, IteratorMode, Options, WriteBatch, WriteOptions};

const MIB: usize = 1 << 20;

/// Smaller values stay in the tree.
const MIN_BLOB_BYTES: u64 = 4096;
const BLOB_FILE_BYTES: u64 = 256 * MIB as u64;
const WRITE_BUFFER_BYTES: usize = 64 * MIB;
const WRITE_BUFFERS: usize = 3;
/// Room on disk, besides what is written next, for what is in memory already.
const HEADROOM_BYTES: u64 = (WRITE_BUFFERS * WRITE_BUFFER_BYTES) as u64;
/// Longest key below any prefix that is deleted as a whole.
const MAX_SUFFIX_BYTES: usize = 16;

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// What the directory was made with.
    Meta,
    /// Metadata by chunk.
    Chunks,
    /// Encoded bytes by chunk, put instance and segment.
    Segments,
    /// Puts in progress, by instance.
    Staging,
    /// Specs by fingerprint.
    Specs,
    /// Last use by chunk.
    Uses,
}

impl Column {
    const ALL: [Self; 6] = [Self::Meta, Self::Chunks, Self::Segments, Self::Staging, Self::Specs, Self::Uses];

    const fn name(self) -> &'static str {
        match self {
            Self::Meta => rocksdb::DEFAULT_COLUMN_FAMILY_NAME,
            Self::Chunks => "chunks",
            Self::Segments => "segments",
            Self::Staging => "staging",
            Self::Specs => "specs",
            Self::Uses => "uses",
        }
    }

    fn options(self) -> Options {
        let mut options = Options::default();
        options.set_compression_type(rocksdb::DBCompressionType::None);
        if self != Self::Segments {
            return options;
        }
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_write_buffer_number(WRITE_BUFFERS as i32);
        options.set_enable_blob_files(true);
        options.set_min_blob_size(MIN_BLOB_BYTES);
        options.set_blob_file_size(BLOB_FILE_BYTES);
        options.set_blob_compression_type(rocksdb::DBCompressionType::None);
        options.set_enable_blob_gc(true);
        // With the defaults, the space of deleted chunks did not come back.
        options.set_blob_gc_age_cutoff(1.0);
        options.set_blob_gc_force_threshold(0.5);
        options
    }
}

/// When a write is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives the death of the process.
    Process,
    /// It and everything before it survive the death of the machine.
    Machine,
}

/// Writes that happen together or not at all.
#[derive(Default)]
pub(crate) struct Batch {
    writes: Vec<Write>,
}

enum Write {
    Put(Column, Vec<u8>, Vec<u8>),
    Delete(Column, Vec<u8>),
    DeletePrefix(Column, Vec<u8>),
}

impl Batch {
    /// Sets a value.
    pub(crate) fn put(&mut self, column: Column, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push(Write::Put(column, key.into(), value.into()));
    }

    /// Removes a key, present or not.
    pub(crate) fn delete(&mut self, column: Column, key: impl Into<Vec<u8>>) {
        self.writes.push(Write::Delete(column, key.into()));
    }

    /// Removes every key that begins with `prefix` and is at most 16 bytes longer.
    pub(crate) fn delete_prefix(&mut self, column: Column, prefix: impl Into<Vec<u8>>) {
        self.writes.push(Write::DeletePrefix(column, prefix.into()));
    }
}

/// An open database.
pub(crate) struct Rocks {
    db: DB,
    path: PathBuf,
}

impl Rocks {
    /// Opens the database in the directory `path`, which is made if missing.
    ///
    /// # Errors
    /// `Unavailable` when another process has it open or the system refuses, `Corrupt` when it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_max_background_jobs(4);
        options.set_max_open_files(1024);
        options.set_keep_log_file_num(4);
        let columns = Column::ALL.map(|column| ColumnFamilyDescriptor::new(column.name(), column.options()));
        match DB::open_cf_descriptors(&options, path, columns) {
            Ok(db) => Ok(Self { db, path: path.to_owned() }),
            Err(error) if is_locked(&error) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("store {} is in use by another kvdepotd", path.display()),
            )),
            Err(error) => Err(describe(path, &error)),
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// `Corrupt` or `Unavailable`, as RocksDB says; so for all methods.
    pub(crate) fn read(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(column)?, key).map_err(|error| self.failed(&error))
    }

    /// Reads one value per key, in order.
    pub(crate) fn read_all<K: AsRef<[u8]>>(&self, column: Column, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>> {
        let family = self.family(column)?;
        let values = self.db.multi_get_cf(keys.iter().map(|key| (family, key)));
        values.into_iter().map(|value| value.map_err(|error| self.failed(&error))).collect()
    }

    /// Calls `visit` with every key and value, in order of keys.
    pub(crate) fn scan(&self, column: Column, mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for row in self.db.iterator_cf(self.family(column)?, IteratorMode::Start) {
            let (key, value) = row.map_err(|error| self.failed(&error))?;
            visit(&key, &value)?;
        }
        Ok(())
    }

    /// Sets one value. Takes `value` by reference, for segments are large.
    pub(crate) fn put(&self, column: Column, key: &[u8], value: &[u8]) -> Result<()> {
        self.db.put_cf(self.family(column)?, key, value).map_err(|error| self.failed(&error))
    }

    /// Writes a batch, whole or not at all.
    pub(crate) fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        let mut writes = WriteBatch::default();
        for write in &batch.writes {
            match write {
                Write::Put(column, key, value) => writes.put_cf(self.family(*column)?, key, value),
                Write::Delete(column, key) => writes.delete_cf(self.family(*column)?, key),
                Write::DeletePrefix(column, prefix) => {
                    let end = [prefix.as_slice(), &[0xff; MAX_SUFFIX_BYTES]].concat();
                    writes.delete_range_cf(self.family(*column)?, prefix, &end);
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Machine);
        self.db.write_opt(writes, &options).map_err(|error| self.failed(&error))
    }

    /// Makes everything written so far survive the death of the machine.
    pub(crate) fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(|error| self.failed(&error))
    }

    /// Checks that the disk has room for `bytes` more: a disk that fills up stops even deletions.
    ///
    /// # Errors
    /// `Busy` when it has not, `Unavailable` when the system does not say.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<()> {
        let path = self.path.display();
        let disk = rustix::fs::statvfs(&self.path)
            .map_err(|error| Error::new(ErrorKind::Unavailable, format!("store {path}: {error}")))?;
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Everything is written twice: to the log, then to its place.
        let needed_bytes = bytes.saturating_mul(2).saturating_add(HEADROOM_BYTES);
        if free_bytes < needed_bytes {
            let message =
                format!("store {path} needs {needed_bytes} bytes of disk for {bytes} new ones, {free_bytes} are free");
            return Err(Error::new(ErrorKind::Busy, message));
        }
        Ok(())
    }

    fn family(&self, column: Column) -> Result<&ColumnFamily> {
        let missing = || Error::new(ErrorKind::Internal, format!("column {} is not open", column.name()));
        self.db.cf_handle(column.name()).ok_or_else(missing)
    }

    fn failed(&self, error: &rocksdb::Error) -> Error {
        describe(&self.path, error)
    }
}

fn is_locked(error: &rocksdb::Error) -> bool {
    let text: &str = error.as_ref();
    error.kind() == rocksdb::ErrorKind::IOError && text.contains("lock") && text.contains("LOCK")
}

/// RocksDB tells a full disk only in words; it resumes by itself once there is room.
fn describe(path: &Path, error: &rocksdb::Error) -> Error {
    let text: &str = error.as_ref();
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => ErrorKind::Corrupt,
        rocksdb::ErrorKind::IOError if text.contains("No space left") => ErrorKind::Busy,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("store {}: {text}", path.display()))
}
