//! What the network has brought and what is decoded of it, for the engine to look at.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvdepot_codec::Geometry;
use kvdepot_proto::stream::{Arrivals, ChunkLoad, Goal};
use kvdepot_proto::{Manifest, ReceivedSegment};

use crate::{Error, FetchEvent};

/// Shared by network, decoder and engine.
pub(super) struct Board<K> {
    pub(super) started: Instant,
    pub(super) goal: Goal,
    contents: Mutex<Contents<K>>,
    changed: Condvar,
}

/// What is known so far.
pub(super) struct Contents<K> {
    geometry: Option<Geometry>,
    pub(super) loads: Vec<ChunkLoad>,
    slots: Vec<Slot<K>>,
    pub(super) arrivals: Arrivals,
    pub(super) payload_bytes: u64,
    /// Chunks before this one are not decoded any more: the engine computes them.
    pub(super) first_chunk: usize,
    /// The chunk that is being decoded.
    decoding: Option<usize>,
    pub(super) decoded: Decoded,
    /// Nothing more comes.
    pub(super) has_ended: bool,
    /// Nothing more is looked at or decoded.
    is_closed: bool,
    /// Why the transfer ended early.
    pub(super) failure: Option<String>,
}

/// What is kept of a chunk.
struct Slot<K> {
    segments: Vec<ReceivedSegment>,
    kv: Option<K>,
}

/// How fast decoding was.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Decoded {
    kv_bytes: u64,
    elapsed: Duration,
}

/// A chunk to decode, with what has come of it.
pub(super) struct Job {
    pub(super) chunk_idx: usize,
    pub(super) geometry: Geometry,
    pub(super) num_tokens: usize,
    pub(super) segments: Vec<Bytes>,
    qualities: u8,
}

impl<K> Board<K> {
    pub(super) fn new(goal: Goal) -> Self {
        Self { started: Instant::now(), goal, contents: Mutex::new(Contents::new()), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Contents<K>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self, event: FetchEvent<'_>) {
        self.change(|contents| match event {
            _ if contents.is_closed => {}
            FetchEvent::Manifest(manifest) => contents.begin(manifest),
            FetchEvent::Segment(segment) => contents.add(segment, self.started.elapsed()),
        });
    }

    /// Nothing more comes.
    pub(super) fn end(&self, failure: Option<Error>) {
        self.change(|contents| {
            contents.has_ended = true;
            contents.failure = contents.failure.take().or(failure.map(|error| error.to_string()));
        });
    }

    /// Nothing more is looked at, and nothing more decoded but what has begun.
    pub(super) fn close(&self) {
        self.change(Contents::close);
    }

    /// Whether the manifest has come, or never will.
    pub(super) fn has_begun(&self) -> bool {
        self.lock().has_begun()
    }

    /// Waits until the manifest has come, or never will.
    pub(super) fn wait_for_manifest(&self) -> MutexGuard<'_, Contents<K>> {
        self.wait_while(|contents| !contents.has_begun())
    }

    /// Waits for something to change, for at most so long.
    pub(super) fn wait<'a>(
        &'a self,
        contents: MutexGuard<'a, Contents<K>>,
        most: Duration,
    ) -> MutexGuard<'a, Contents<K>> {
        self.changed.wait_timeout(contents, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for a chunk to decode; none when the board is closed.
    pub(super) fn next_job(&self) -> Option<Job> {
        let is_idle = |contents: &mut Contents<K>| !contents.is_closed && contents.waiting(self.goal).is_none();
        let mut contents = self.wait_while(is_idle);
        (!contents.is_closed).then(|| contents.begin_decoding(self.goal)).flatten()
    }

    /// Takes a decoded chunk; one that did not decode is not loaded, and nothing more is.
    pub(super) fn settle(&self, job: &Job, decoded: kvdepot_codec::Result<K>, elapsed: Duration) {
        self.change(|contents| match decoded {
            Ok(kv) => contents.keep(job, kv, elapsed, self.goal),
            Err(error) => contents.drop_chunk(job, error),
        });
    }

    fn wait_while(&self, condition: impl FnMut(&mut Contents<K>) -> bool) -> MutexGuard<'_, Contents<K>> {
        self.changed.wait_while(self.lock(), condition).unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Contents<K>)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl<K> Contents<K> {
    fn new() -> Self {
        Self {
            geometry: None,
            loads: Vec::new(),
            slots: Vec::new(),
            arrivals: Arrivals::default(),
            payload_bytes: 0,
            first_chunk: 0,
            decoding: None,
            decoded: Decoded::default(),
            has_ended: false,
            is_closed: false,
            failure: None,
        }
    }

    /// Nothing more is looked at: what the engine has made of it stays true.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    fn has_begun(&self) -> bool {
        self.geometry.is_some() || self.has_ended
    }

    /// Whether something is decoded, or waits for it.
    pub(super) fn is_decoding(&self, goal: Goal) -> bool {
        self.decoding.is_some() || self.waiting(goal).is_some()
    }

    /// Bytes per second that come; none once nothing does.
    pub(super) fn bytes_per_sec(&mut self, now: Duration) -> Option<f64> {
        if self.has_ended { Some(0.0) } else { self.arrivals.bytes_per_sec(now) }
    }

    /// Decoded KV of a chunk.
    pub(super) fn take_kv(&mut self, chunk_idx: usize) -> Option<K> {
        self.slots.get_mut(chunk_idx)?.kv.take()
    }

    fn begin(&mut self, manifest: &Manifest) {
        let geometry = manifest.spec.geometry;
        self.loads = manifest.chunks.iter().map(|chunk| ChunkLoad::new(&geometry, chunk)).collect();
        self.slots = manifest.chunks.iter().map(|_| Slot { segments: Vec::new(), kv: None }).collect();
        self.geometry = Some(geometry);
    }

    fn add(&mut self, segment: &ReceivedSegment, now: Duration) {
        let segment_bytes = segment.bytes.len() as u64;
        self.arrivals.record(now, segment_bytes);
        self.payload_bytes += segment_bytes;
        let chunk_idx = segment.chunk_idx as usize;
        if let (Some(load), Some(slot)) = (self.loads.get_mut(chunk_idx), self.slots.get_mut(chunk_idx)) {
            load.arrive(segment.key.quality, segment_bytes);
            slot.segments.push(segment.clone());
        }
    }

    /// The chunk to decode next: one of which nothing is decoded, else one that becomes better; the last such one.
    fn waiting(&self, goal: Goal) -> Option<usize> {
        let is_better = |(_, load): &(usize, &ChunkLoad)| {
            let arrived = load.arrived().min(goal.qualities);
            arrived >= goal.needed().min(load.qualities()) && arrived > load.decoded
        };
        let chunks = self.loads.iter().enumerate().skip(self.first_chunk);
        chunks.filter(is_better).max_by_key(|(idx, load)| (load.decoded == 0, *idx)).map(|(idx, _)| idx)
    }

    fn begin_decoding(&mut self, goal: Goal) -> Option<Job> {
        let chunk_idx = self.waiting(goal)?;
        let (load, slot) = (self.loads.get(chunk_idx)?, self.slots.get(chunk_idx)?);
        let qualities = load.arrived().min(goal.qualities);
        let leading = slot.segments.iter().filter(|segment| segment.key.quality < qualities);
        let segments = leading.map(|segment| segment.bytes.clone()).collect();
        self.decoding = Some(chunk_idx);
        Some(Job { chunk_idx, geometry: self.geometry?, num_tokens: load.num_tokens as usize, segments, qualities })
    }

    fn keep(&mut self, job: &Job, kv: K, elapsed: Duration, goal: Goal) {
        self.decoding = None;
        let (Some(load), Some(slot)) = (self.loads.get_mut(job.chunk_idx), self.slots.get_mut(job.chunk_idx)) else {
            return;
        };
        load.decoded = job.qualities;
        slot.kv = Some(kv);
        if load.is_ready(goal.qualities) {
            slot.segments.clear();
        }
        self.decoded.kv_bytes += load.kv_bytes;
        self.decoded.elapsed += elapsed;
    }

    fn drop_chunk(&mut self, job: &Job, error: kvdepot_codec::Error) {
        self.decoding = None;
        self.has_ended = true;
        self.failure = Some(Error::from(error).context(format!("chunk {}", job.chunk_idx)).to_string());
        if let Some(load) = self.loads.get_mut(job.chunk_idx) {
            load.arrived_bytes.fill(0);
            load.decoded = 0;
        }
        if let Some(slot) = self.slots.get_mut(job.chunk_idx) {
            *slot = Slot { segments: Vec::new(), kv: None };
        }
    }
}

impl Decoded {
    /// Bytes of KV per second, once something was decoded.
    pub(super) fn bytes_per_sec(&self) -> Option<f64> {
        let secs = self.elapsed.as_secs_f64();
        (secs > 0.0).then(|| self.kv_bytes as f64 / secs)
    }
}
