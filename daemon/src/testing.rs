//! What the tests of this crate share: small contexts, encoded for real, and depots with a clock that stands still.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, encode};
use kvdepot_proto::{
    Announce, ChunkContent, ChunkId, KvSpec, Manifest, ReceivedSegment, Result, Rope, Scope, SegmentEntry, v1,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use crate::daemon::Daemon;
use crate::depot::{Committed, Depot, FetchTarget, StagedPut};
use crate::settings::{Settings, StoreSettings};

/// Tokens per chunk in tests: the smallest there may be.
pub(crate) const CHUNK_TOKENS: u32 = 32;

pub(crate) fn spec(dtype: Dtype) -> KvSpec {
    KvSpec {
        model: "tiny".to_owned(),
        weights_digest: [7; 32],
        tokenizer_digest: None,
        adapter: String::new(),
        geometry: Geometry::new(2, 1, 8, dtype).unwrap(),
        rope: Rope { kind: "default".to_owned(), theta: 10_000.0, parameters: Vec::new() },
        sliding_window: None,
    }
}

pub(crate) fn scope() -> Scope {
    Scope::exact(spec(Dtype::Bf16))
}

/// `len` tokens that differ from those of other seeds from the first one on.
pub(crate) fn tokens(seed: u32, len: u32) -> Vec<u32> {
    (0..len).map(|position| seed * 1_000_000 + position).collect()
}

/// A context with its segments, as a client would put it.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) announce: Announce,
    pub(crate) segments: Vec<ReceivedSegment>,
}

/// Encodes made-up KV, which depends on the tokens only, for each chunk.
pub(crate) fn context(scope: Scope, tokens: Vec<u32>, level: Level) -> Context {
    let (mut contents, mut segments) = (Vec::new(), Vec::new());
    let rope = (&scope.spec.rope).try_into().unwrap();
    for (chunk_idx, run) in (0..).zip(tokens.chunks(CHUNK_TOKENS as usize)) {
        let options = EncodeOptions::new(level).at(rope, u64::from(chunk_idx) * u64::from(CHUNK_TOKENS));
        let encoded = encode(&kv(scope.spec.geometry, run), &options).unwrap();
        let entry = |segment: &kvdepot_codec::Segment| SegmentEntry {
            key: segment.key,
            segment_bytes: segment.bytes.len() as u64,
        };
        contents.push(ChunkContent { level, segments: encoded.iter().map(entry).collect() });
        segments.extend(encoded.into_iter().map(|segment| ReceivedSegment {
            chunk_idx,
            key: segment.key,
            bytes: segment.bytes.into(),
        }));
    }
    Context { announce: Announce { scope, tokens, contents }, segments }
}

pub(crate) fn exact_context(tokens: Vec<u32>) -> Context {
    context(scope(), tokens, Level::Q0)
}

fn kv(geometry: Geometry, tokens: &[u32]) -> KvChunk {
    let mut rng = SmallRng::seed_from_u64(tokens.first().copied().unwrap_or(0).into());
    let elements = geometry.kv_bytes(tokens.len()) / geometry.dtype().bytes();
    let bytes = (0..elements).flat_map(|_| {
        let value = rng.random_range(-1.0f32..1.0).to_le_bytes();
        // The upper half of an f32 is the same number in bf16.
        value.into_iter().skip(4 - geometry.dtype().bytes()).collect::<Vec<_>>()
    });
    KvChunk::from_bytes(geometry, tokens.len(), bytes.collect()).unwrap()
}

impl Context {
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes.len() as u64).sum()
    }

    /// The segments of the chunks from `first_chunk` on.
    pub(crate) fn segments_from(&self, first_chunk: usize) -> impl Iterator<Item = &ReceivedSegment> {
        self.segments.iter().filter(move |segment| segment.chunk_idx as usize >= first_chunk)
    }
}

/// A depot whose clock the test sets.
pub(crate) struct TestDepot {
    pub(crate) depot: Arc<Depot>,
    pub(crate) clock: Arc<AtomicU64>,
    closed: oneshot::Receiver<()>,
}

pub(crate) fn store_settings(quota_bytes: u64) -> StoreSettings {
    let mut settings = Settings::in_dir("").store;
    settings.chunk_tokens = CHUNK_TOKENS;
    settings.quota_bytes = crate::settings::ByteSize(quota_bytes);
    settings
}

pub(crate) fn open(path: &Path, quota_bytes: u64) -> TestDepot {
    let clock = Arc::new(AtomicU64::new(1));
    let now = Arc::clone(&clock);
    let now = Box::new(move || now.load(Ordering::Relaxed));
    let (depot, closed) = Depot::open(path, &store_settings(quota_bytes), now).unwrap();
    TestDepot { depot: Arc::new(depot), clock, closed }
}

impl TestDepot {
    /// Waits until the directory is free, without a clean shutdown.
    pub(crate) fn close(self) {
        drop(self.depot);
        assert!(self.closed.blocking_recv().is_err(), "nothing is ever sent");
    }

    pub(crate) fn at(&self, now: u64) -> &Arc<Depot> {
        self.clock.store(now, Ordering::Relaxed);
        &self.depot
    }
}

/// Announces a context and stages what is missing.
pub(crate) fn stage(depot: &Arc<Depot>, context: &Context) -> Result<StagedPut> {
    let mut put = depot.announce(context.announce.clone())?;
    let first_missing = put.missing().start;
    context.segments_from(first_missing).try_for_each(|segment| put.stage(segment))?;
    Ok(put)
}

pub(crate) fn put(depot: &Arc<Depot>, context: &Context) -> Result<Committed> {
    stage(depot, context)?.commit()
}

/// Tokens of the longest stored prefix.
pub(crate) fn matched(depot: &Depot, context: &Context) -> usize {
    depot.match_prefix(&context.announce.scope, &context.announce.tokens).unwrap().num_tokens()
}

/// Fetches the stored prefix of a context: its manifest, and its segments in order.
pub(crate) fn fetch(depot: &Arc<Depot>, context: &Context) -> Result<(Manifest, Vec<ReceivedSegment>)> {
    let announce = &context.announce;
    let outgoing = depot.fetch(FetchTarget::Prefix(announce.scope.clone(), announce.tokens.clone()), 0)?;
    let mut segments = Vec::new();
    for (chunk_idx, content) in (0..).zip(outgoing.contents()) {
        let keys: Vec<_> = content.segments.iter().map(|segment| segment.key).collect();
        segments.extend(outgoing.read_segments(chunk_idx, &keys)?.into_iter().map(|segment| ReceivedSegment {
            chunk_idx,
            key: segment.key,
            bytes: segment.bytes,
        }));
    }
    Ok((outgoing.manifest().clone(), segments))
}

/// Ids of the chunks of a stored context.
pub(crate) fn ids(depot: &Depot, context: &Context) -> Vec<ChunkId> {
    let prefix = depot.match_prefix(&context.announce.scope, &context.announce.tokens).unwrap();
    prefix.chunks.iter().map(|(id, _)| *id).collect()
}

/// Settings of a daemon on free ports of the loopback.
pub(crate) fn settings(data_dir: &Path) -> Settings {
    let mut settings = Settings::in_dir(data_dir);
    settings.store = store_settings(0);
    settings.grpc.listen = "127.0.0.1:0".to_owned();
    settings.quic.listen = "127.0.0.1:0".to_owned();
    settings
}

/// A running daemon with these [`settings`].
pub(crate) async fn start(data_dir: &Path) -> Daemon {
    Daemon::start(settings(data_dir)).await.unwrap()
}

/// A context as a put announces it.
pub(crate) fn announcement(context: &Context, transfer_id: u64) -> v1::PutAnnounce {
    let announce = &context.announce;
    v1::PutAnnounce {
        scope: Some((&announce.scope).into()),
        tokens: announce.tokens.clone(),
        contents: announce.contents.iter().map(Into::into).collect(),
        transfer_id,
    }
}

/// A request for the longest stored prefix of a context.
pub(crate) fn fetch_request(context: &Context, transfer_id: u64) -> v1::FetchRequest {
    v1::FetchRequest {
        scope: Some((&context.announce.scope).into()),
        tokens: context.announce.tokens.clone(),
        transfer_id,
        ..v1::FetchRequest::default()
    }
}
