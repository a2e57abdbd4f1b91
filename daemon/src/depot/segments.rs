//! Segments that receivers read: from the store once, however many ask at the same time, and from memory for a while after.
//!
//! A segment is named by the put that wrote it, so that what was removed is never found under a chunk that is put again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kvdepot_codec::SegmentKey;
use kvdepot_local::SealedMemory;
use kvdepot_proto::{ChunkId, Error, ErrorKind, Result};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter, sync::DefaultLifecycle};

/// Most segments that are held: each may have a descriptor open.
const MAX_HELD_SEGMENTS: u64 = 4096;

/// Names a segment and the put that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) chunk: ChunkId,
    pub(super) instance: u64,
    pub(super) key: SegmentKey,
}

/// A verified segment, for whoever read it last: those on this host share memory, others need bytes.
#[derive(Clone)]
enum Held {
    Bytes(Bytes),
    Memory(Arc<SealedMemory>),
}

/// Segments read lately and those being read.
pub(super) struct Segments {
    held: Cache<Name, Held, HeldBytes>,
    reads: AtomicU64,
}

/// What a segment counts: its bytes, or its share of the number that may be held.
#[derive(Clone)]
struct HeldBytes {
    least: u64,
}

impl Weighter<Name, Held> for HeldBytes {
    fn weight(&self, _: &Name, held: &Held) -> u64 {
        (held.len() as u64).max(self.least)
    }
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Memory(memory) => memory.len(),
        }
    }
}

impl Segments {
    /// Holds at most `capacity_bytes` of segments besides those that are being read.
    pub(super) fn new(capacity_bytes: u64) -> Self {
        let least = (capacity_bytes / MAX_HELD_SEGMENTS).max(1);
        let most = usize::try_from(capacity_bytes / least).unwrap_or(usize::MAX);
        // One shard: the bound holds for all of them together, and a turn at its lock is short against reading a segment.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(most)
            .weight_capacity(capacity_bytes)
            .shards(1)
            .build()
            .expect("all that has no default is set");
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { held: Cache::with_options(options, HeldBytes { least }, hasher, lifecycle), reads: AtomicU64::new(0) }
    }

    /// The segment's bytes; `read` gives them, verified, unless they are held or another caller reads them.
    pub(super) fn bytes(&self, name: Name, read: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        match self.held(name, read)? {
            Held::Bytes(bytes) => Ok(bytes),
            Held::Memory(memory) => memory.read().map_err(|error| refused(&error)),
        }
    }

    /// The same in memory that a receiver on this host may read.
    pub(super) fn memory(&self, name: Name, read: impl FnOnce() -> Result<Bytes>) -> Result<Arc<SealedMemory>> {
        let bytes = match self.held(name, read)? {
            Held::Memory(memory) => return Ok(memory),
            Held::Bytes(bytes) => bytes,
        };
        let memory = Arc::new(SealedMemory::new(&bytes).map_err(|error| refused(&error))?);
        // It stays out when it went out meanwhile: then the chunk may have been removed.
        let _ = self.held.replace(name, Held::Memory(Arc::clone(&memory)), false);
        Ok(memory)
    }

    /// Lets go of all segments of chunks, each with the put that wrote it.
    pub(super) fn forget(&self, chunks: &[(ChunkId, u64)]) {
        self.held.retain(|name, _| !chunks.contains(&(name.chunk, name.instance)));
    }

    /// Segments that were read from the store.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// What is held counts so many bytes.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.weight()
    }

    fn held(&self, name: Name, read: impl FnOnce() -> Result<Bytes>) -> Result<Held> {
        self.held.get_or_insert_with(&name, || {
            self.reads.fetch_add(1, Ordering::Relaxed);
            read().map(Held::Bytes)
        })
    }
}

fn refused(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("memory of a segment: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use kvdepot_codec::Side;

    use super::*;

    fn name(chunk: u8, instance: u64) -> Name {
        let key = SegmentKey { quality: 0, layer_group: 0, side: Side::K };
        Name { chunk: ChunkId::new([chunk; 32]), instance, key }
    }

    fn read(fill: u8, len: usize) -> impl FnOnce() -> Result<Bytes> {
        move || Ok(vec![fill; len].into())
    }

    #[test]
    fn many_readers_at_once_cost_one_read() {
        const READERS: usize = 16;
        let segments = Segments::new(1 << 20);
        let all_have_begun = Barrier::new(READERS);
        std::thread::scope(|scope| {
            for reader in 0..READERS {
                let (segments, all_have_begun) = (&segments, &all_have_begun);
                scope.spawn(move || {
                    all_have_begun.wait();
                    let bytes = match reader % 2 {
                        0 => segments.bytes(name(1, 0), read(7, 1000)).unwrap(),
                        _ => segments.memory(name(1, 0), read(7, 1000)).unwrap().read().unwrap(),
                    };
                    assert_eq!(bytes, vec![7; 1000]);
                });
            }
        });
        assert_eq!(segments.reads(), 1);
    }

    #[test]
    fn what_is_held_stays_below_the_capacity() {
        const CAPACITY: u64 = 100_000;
        let segments = Segments::new(CAPACITY);
        for round in 0..50u8 {
            for (chunk, len) in [(round, 7_000), (round, 90_000), (200, 30)] {
                let fill = chunk ^ 0x55;
                assert_eq!(segments.bytes(name(chunk, len as u64), read(fill, len)).unwrap(), vec![fill; len]);
                segments.memory(name(chunk, len as u64), read(fill, len)).unwrap();
                assert!(segments.held_bytes() <= CAPACITY, "{}", segments.held_bytes());
            }
        }
        assert!(segments.held_bytes() > 0);
        let above = 2 * CAPACITY as usize;
        assert_eq!(segments.bytes(name(1, 1), read(1, above)).unwrap().len(), above, "too large to be held");
        assert!(segments.held_bytes() <= CAPACITY);
    }

    #[test]
    fn nothing_is_held_without_a_capacity() {
        let segments = Segments::new(0);
        for _ in 0..3 {
            segments.bytes(name(1, 0), read(1, 10)).unwrap();
        }
        assert_eq!((segments.reads(), segments.held_bytes()), (3, 0));
    }

    #[test]
    fn a_read_that_fails_is_not_held() {
        let segments = Segments::new(1 << 20);
        let failed = segments.bytes(name(1, 0), || Err(Error::new(ErrorKind::Corrupt, "damaged")));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(segments.bytes(name(1, 0), read(3, 5)).unwrap(), vec![3; 5]);
    }

    #[test]
    fn what_is_removed_is_let_go_and_another_put_of_it_is_read_anew() {
        let segments = Segments::new(1 << 20);
        for chunk in [1, 2] {
            segments.bytes(name(chunk, 0), read(chunk, 10)).unwrap();
        }
        segments.forget(&[(ChunkId::new([1; 32]), 0)]);
        assert_eq!(segments.bytes(name(1, 1), read(9, 10)).unwrap(), vec![9; 10]);
        assert_eq!(segments.bytes(name(1, 0), read(8, 10)).unwrap(), vec![8; 10], "gone");
        assert_eq!(segments.bytes(name(2, 0), || unreachable!()).unwrap(), vec![2; 10], "kept");
    }
}
