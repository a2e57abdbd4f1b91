//! With a deadline, a receiver has the base of everything and as much of the rest as there was time for; and exactly what
//! was put where only that is allowed.

use std::time::Duration;

use bytes::Bytes;
use kvdepot_client::{
    BothEnds, BothEndsReport, ChunkFate, Client, CpuDecoder, Decoder, EncodedChunk, Engine, Error, TransportChoice,
};
use kvdepot_codec::{Dtype, Geometry, KvChunk, Level, decode};
use kvdepot_proto::Scope;
use kvdepot_proto::stream::{EngineCosts, Goal};
use kvdepot_tests::{DepotProcess, KvSource, Path, Relay, spec_of};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Seven whole chunks and a short one.
const NUM_TOKENS: usize = 2_000;
/// Several times what the depot sends at once: of less, a refinement may be on its way before the base of another chunk is read.
const MANY_TOKENS: usize = 8_000;

/// An engine of given costs that knows the KV that it would compute.
struct KnownEngine {
    source: Vec<KvChunk>,
    secs_per_token: f64,
    held: Vec<KvChunk>,
}

impl Engine for KnownEngine {
    type Kv = KvChunk;
    type Error = Error;

    fn costs(&self) -> Option<EngineCosts> {
        let secs_per_token = self.secs_per_token;
        Some(EngineCosts { secs_per_token, secs_per_attended_token: 0.0, decode_bytes_per_sec: f64::INFINITY })
    }

    fn compute(&mut self, end: usize) -> Result<(), Error> {
        let held: usize = self.held.iter().map(KvChunk::num_tokens).sum();
        std::thread::sleep(Duration::from_secs_f64(self.secs_per_token * (end - held) as f64));
        self.held.push(self.source[self.held.len()].clone());
        Ok(())
    }

    fn append(&mut self, num_tokens: usize, kv: KvChunk) -> Result<(), Error> {
        assert_eq!(num_tokens, kv.num_tokens());
        self.held.push(kv);
        Ok(())
    }

    fn restart(&mut self) {
        self.held.clear();
    }
}

/// A depot with one context in it, and a runtime to reach it.
struct Stored {
    _dir: TempDir,
    depot: DepotProcess,
    source: KvSource,
    num_tokens: usize,
    scope: Scope,
    chunks: Vec<EncodedChunk>,
    runtime: Runtime,
}

impl Stored {
    fn put(level: Level, num_tokens: usize) -> anyhow::Result<Self> {
        let (dir, runtime) = (tempfile::tempdir()?, Runtime::new()?);
        let depot = DepotProcess::start(dir.path(), &[])?;
        let source = KvSource::small(Dtype::Bf16, 77)?;
        let chunks = source.encoded(num_tokens, level)?;
        let scope = Scope { lossy: !level.is_lossless(), ..Scope::exact(spec_of(source.geometry)) };
        let client = runtime.block_on(Client::connect(&depot.connect_options()))?;
        runtime.block_on(client.put(&scope, &source.tokens(num_tokens), &chunks, |_| ()))?;
        Ok(Self { _dir: dir, depot, source, num_tokens, scope, chunks, runtime })
    }

    /// Obtains the context over a path, and gives the KV that the engine then holds.
    fn obtain<D: Decoder<Kv = KvChunk>>(
        &self,
        path: Path,
        secs_per_token: f64,
        goal: Goal,
        decoder: &D,
    ) -> anyhow::Result<(BothEndsReport, Vec<KvChunk>)> {
        let target = self.depot.endpoints().quic.parse()?;
        let relay = Relay::start(target, path)?;
        let mut options = self.depot.connect_options();
        options.transport = TransportChoice::Quic;
        options.quic_address = Some(relay.address());
        let client = self.runtime.block_on(Client::connect(&options))?;
        let mut engine = KnownEngine { source: self.source.chunks(self.num_tokens)?, secs_per_token, held: Vec::new() };
        let tokens = self.source.tokens(self.num_tokens);
        let what = BothEnds { scope: &self.scope, tokens: &tokens, goal };
        let report = client.load_from_both_ends(self.runtime.handle(), what, &mut engine, decoder)?;
        Ok((report, engine.held))
    }

    /// Holds what the engine has against what each chunk's fate says that it is.
    fn check(&self, report: &BothEndsReport, held: &[KvChunk]) -> anyhow::Result<()> {
        let whole = self.source.chunks(self.num_tokens)?;
        assert_eq!((report.chunks.len(), held.len()), (whole.len(), whole.len()), "{report:?}");
        for (idx, (chunk, held)) in report.chunks.iter().zip(held).enumerate() {
            let due = match chunk.fate {
                ChunkFate::Computed => whole[idx].clone(),
                ChunkFate::Loaded { qualities, .. } => self.decoded(idx, qualities, whole[idx].num_tokens())?,
                ChunkFate::Missing => anyhow::bail!("chunk {idx} is missing: {report:?}"),
            };
            assert!(*held == due, "chunk {idx} is not what {:?} says", chunk.fate);
        }
        Ok(())
    }

    fn decoded(&self, idx: usize, qualities: u8, num_tokens: usize) -> anyhow::Result<KvChunk> {
        let leading = self.chunks[idx].segments.iter().filter(|segment| segment.key.quality < qualities);
        Ok(decode(self.source.geometry, num_tokens, leading.map(|segment| segment.bytes.as_slice()))?)
    }

    /// Bytes of the first `qualities` quality layers.
    fn stored_bytes(&self, qualities: u8) -> u64 {
        self.chunks.iter().map(|chunk| chunk.content().leading(qualities).stored_bytes()).sum()
    }
}

fn qualities(report: &BothEndsReport) -> Vec<u8> {
    let loaded = report.chunks.iter().filter_map(|chunk| match chunk.fate {
        ChunkFate::Loaded { qualities, .. } => Some(qualities),
        _ => None,
    });
    loaded.collect()
}

/// Seconds per token of an engine that does not compute.
const NEVER: f64 = f64::INFINITY;

#[test]
fn a_deadline_cuts_refinements_and_never_the_base() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3, MANY_TOKENS)?;
    // A link on which the base takes two seconds and the rest more than one, and nothing is lost: a base that had to be sent
    // again could come after all else.
    let bytes_per_sec = stored.stored_bytes(1) as f64 / 2.0;
    let path = Path { bytes_per_sec: Some(bytes_per_sec), ..Path::default() };
    let goal = |millis: Option<u64>| Goal { qualities: 3, deadline: millis.map(Duration::from_millis) };
    let (early, held) = stored.obtain(path, NEVER, goal(Some(1)), &CpuDecoder)?;
    stored.check(&early, &held)?;
    let last = early.steps.last().map(|step| step.what.clone()).unwrap_or_default();
    assert!(last.contains("deadline"), "{early:?}");
    assert!(qualities(&early).iter().all(|qualities| *qualities >= 1) && qualities(&early).contains(&1), "{early:?}");
    assert!(early.payload_bytes < stored.stored_bytes(3), "{early:?}");
    let (late, held) = stored.obtain(path, NEVER, goal(Some(600_000)), &CpuDecoder)?;
    stored.check(&late, &held)?;
    assert_eq!(qualities(&late), vec![3; held.len()], "{late:?}");
    Ok(())
}

#[test]
fn without_a_deadline_loaded_chunks_have_the_quality_asked_for() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3, NUM_TOKENS)?;
    for asked in 1..=3 {
        let goal = Goal { qualities: asked, deadline: None };
        let (report, held) = stored.obtain(Path::default(), NEVER, goal, &CpuDecoder)?;
        stored.check(&report, &held)?;
        assert_eq!(qualities(&report), vec![asked; held.len()], "{report:?}");
        assert_eq!(report.payload_bytes, stored.stored_bytes(asked));
    }
    Ok(())
}

#[test]
fn an_engine_that_is_faster_than_the_link_computes() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3, NUM_TOKENS)?;
    // The link takes minutes; the engine a fifth of a second.
    let path = Path { bytes_per_sec: Some(20_000.0), ..Path::default() };
    let goal = Goal { qualities: 3, deadline: None };
    let (report, held) = stored.obtain(path, 1e-4, goal, &CpuDecoder)?;
    stored.check(&report, &held)?;
    assert!(matches!(report.chunks[0].fate, ChunkFate::Computed), "{report:?}");
    assert!(report.chunks[0].why.contains("computing takes"), "{report:?}");
    Ok(())
}

#[test]
fn in_an_exact_scope_what_is_not_computed_is_lossless() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q0, NUM_TOKENS)?;
    for deadline in [1, 200] {
        let goal = Goal { qualities: 3, deadline: Some(Duration::from_millis(deadline)) };
        let (report, held) = stored.obtain(Path::default(), 1e-5, goal, &CpuDecoder)?;
        stored.check(&report, &held)?;
        assert!(held == stored.source.chunks(NUM_TOKENS)?, "{report:?}");
    }
    Ok(())
}

/// A decoder that refuses the chunk with a certain segment.
struct BrokenDecoder {
    refused: Vec<u8>,
}

impl Decoder for BrokenDecoder {
    type Kv = KvChunk;

    fn decode(&self, geometry: Geometry, num_tokens: usize, segments: &[Bytes]) -> kvdepot_codec::Result<KvChunk> {
        match segments.iter().any(|segment| *segment == self.refused) {
            true => Err(kvdepot_codec::Error::Invalid("refused".to_owned())),
            false => CpuDecoder.decode(geometry, num_tokens, segments),
        }
    }
}

#[test]
fn a_chunk_that_does_not_decode_is_computed_with_all_before_it() -> anyhow::Result<()> {
    let stored = Stored::put(Level::Q3, NUM_TOKENS)?;
    let decoder = BrokenDecoder { refused: stored.chunks[5].segments[0].bytes.clone() };
    let goal = Goal { qualities: 3, deadline: None };
    // Slow enough that all chunks have come before the engine reaches the third.
    let (report, held) = stored.obtain(Path::default(), 1e-3, goal, &decoder)?;
    stored.check(&report, &held)?;
    assert!(report.failure.as_deref().is_some_and(|failure| failure.contains("refused")), "{report:?}");
    assert_eq!(qualities(&report).len(), 2, "{report:?}");
    Ok(())
}
