//! With a deadline, a receiver has the base of everything and as much of the rest as there was time for; and exactly what
//! was put where only that is allowed.

use std::time::Duration;

use bytes::Bytes;
use kvdepot_client::{
    BothEnds, BothEndsReport, ChunkFate, Client, ConnectOptions, CpuDecoder, Decoder, Engine, Error, TransportChoice,
};
use kvdepot_codec::{Geometry, KvChunk, Level};
use kvdepot_proto::stream::{EngineCosts, Goal};
use kvdepot_tests::{Path, Relay, Stored};
use tokio::runtime::Runtime;

/// Several times what the depot sends at once: of less, a refinement may be on its way before the base of another chunk is read.
const MANY_TOKENS: usize = 8_000;

/// An engine of given costs that knows the KV that it would compute.
struct KnownEngine {
    source: Vec<KvChunk>,
    secs_per_token: f64,
    held_tokens: usize,
    /// The chunks that are whole.
    held: Vec<KvChunk>,
}

impl KnownEngine {
    fn new(source: Vec<KvChunk>, secs_per_token: f64) -> Self {
        Self { source, secs_per_token, held_tokens: 0, held: Vec::new() }
    }

    fn whole_tokens(&self) -> usize {
        self.held.iter().map(KvChunk::num_tokens).sum()
    }
}

impl Engine for KnownEngine {
    type Kv = KvChunk;
    type Error = Error;

    fn costs(&self) -> Option<EngineCosts> {
        let secs_per_token = self.secs_per_token;
        Some(EngineCosts { secs_per_token, secs_per_attended_token: 0.0, decode_bytes_per_sec: f64::INFINITY })
    }

    fn compute(&mut self, end: usize) -> Result<(), Error> {
        std::thread::sleep(Duration::from_secs_f64(self.secs_per_token * (end - self.held_tokens) as f64));
        self.held_tokens = end;
        while let Some(next) = self.source.get(self.held.len())
            && self.whole_tokens() + next.num_tokens() <= end
        {
            self.held.push(next.clone());
        }
        Ok(())
    }

    fn append(&mut self, num_tokens: usize, kv: KvChunk) -> Result<(), Error> {
        assert_eq!((num_tokens, self.held_tokens), (kv.num_tokens(), self.whole_tokens()), "behind a whole chunk");
        self.held_tokens += num_tokens;
        self.held.push(kv);
        Ok(())
    }

    fn truncate(&mut self, num_tokens: usize) -> Result<(), Error> {
        self.held_tokens = num_tokens;
        assert_eq!(self.whole_tokens(), num_tokens, "to a whole chunk");
        Ok(())
    }
}

/// A depot with one context in it, and a runtime to reach it.
struct Bench {
    stored: Stored,
    runtime: Runtime,
}

impl Bench {
    fn put(level: Level, num_tokens: usize) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        Ok(Self { stored: runtime.block_on(Stored::put_tokens(level, num_tokens))?, runtime })
    }

    /// Obtains the context over a path, and gives the KV that the engine then holds.
    fn obtain<D: Decoder<Kv = KvChunk>>(
        &self,
        path: Path,
        secs_per_token: f64,
        goal: Goal,
        decoder: &D,
    ) -> anyhow::Result<(BothEndsReport, Vec<KvChunk>)> {
        let stored = &self.stored;
        let relay = Relay::start(stored.depot.endpoints().quic.parse()?, path)?;
        let options = ConnectOptions { quic_address: Some(relay.address()), ..stored.options(TransportChoice::Quic) };
        let client = self.runtime.block_on(Client::connect(&options))?;
        let mut engine = KnownEngine::new(stored.whole()?, secs_per_token);
        let what = BothEnds { scope: &stored.scope(), tokens: &stored.tokens(), goal };
        let report = client.load_from_both_ends(self.runtime.handle(), what, &mut engine, decoder)?;
        Ok((report, engine.held))
    }

    /// Holds what the engine has against what each chunk's fate says that it is.
    fn check(&self, report: &BothEndsReport, held: &[KvChunk]) -> anyhow::Result<()> {
        let whole = self.stored.whole()?;
        assert_eq!((report.chunks.len(), held.len()), (whole.len(), whole.len()), "{report:?}");
        for (idx, (chunk, held)) in report.chunks.iter().zip(held).enumerate() {
            let due = match chunk.fate {
                ChunkFate::Computed => whole[idx].clone(),
                ChunkFate::Loaded { qualities, .. } => self.stored.decoded(qualities)?.swap_remove(idx),
                ChunkFate::Missing => anyhow::bail!("chunk {idx} is missing: {report:?}"),
            };
            assert!(*held == due, "chunk {idx} is not what {:?} says", chunk.fate);
        }
        Ok(())
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
    let bench = Bench::put(Level::Q3, MANY_TOKENS)?;
    // A link on which the base takes two seconds and the rest more than one, and nothing is lost: a base that had to be sent
    // again could come after all else.
    let bytes_per_sec = bench.stored.stored_bytes(1) as f64 / 2.0;
    let path = Path { bytes_per_sec: Some(bytes_per_sec), ..Path::default() };
    let goal = |millis: Option<u64>| Goal { qualities: 3, deadline: millis.map(Duration::from_millis) };
    let (early, held) = bench.obtain(path, NEVER, goal(Some(1)), &CpuDecoder)?;
    bench.check(&early, &held)?;
    let last = early.steps.last().map(|step| step.what.clone()).unwrap_or_default();
    assert!(last.contains("deadline"), "{early:?}");
    assert!(qualities(&early).iter().all(|qualities| *qualities >= 1) && qualities(&early).contains(&1), "{early:?}");
    assert!(early.payload_bytes < bench.stored.stored_bytes(3), "{early:?}");
    let (late, held) = bench.obtain(path, NEVER, goal(Some(600_000)), &CpuDecoder)?;
    bench.check(&late, &held)?;
    assert_eq!(qualities(&late), vec![3; held.len()], "{late:?}");
    Ok(())
}

#[test]
fn without_a_deadline_loaded_chunks_have_the_quality_asked_for() -> anyhow::Result<()> {
    let bench = Bench::put(Level::Q3, Stored::NUM_TOKENS)?;
    for asked in 1..=3 {
        let goal = Goal { qualities: asked, deadline: None };
        let (report, held) = bench.obtain(Path::default(), NEVER, goal, &CpuDecoder)?;
        bench.check(&report, &held)?;
        assert_eq!(qualities(&report), vec![asked; held.len()], "{report:?}");
        assert_eq!(report.payload_bytes, bench.stored.stored_bytes(asked));
    }
    Ok(())
}

#[test]
fn an_engine_that_is_faster_than_the_link_computes() -> anyhow::Result<()> {
    let bench = Bench::put(Level::Q3, Stored::NUM_TOKENS)?;
    // The link takes ten seconds, the engine two, and the depot has answered long before.
    let path = Path { bytes_per_sec: Some(100_000.0), ..Path::default() };
    let goal = Goal { qualities: 3, deadline: None };
    let (report, held) = bench.obtain(path, 1e-3, goal, &CpuDecoder)?;
    bench.check(&report, &held)?;
    assert!(matches!(report.chunks[0].fate, ChunkFate::Computed), "{report:?}");
    assert!(report.chunks.iter().any(|chunk| chunk.why.contains("computing takes")), "{report:?}");
    Ok(())
}

/// Far away: the manifest comes after two round trips, a connection's and a request's.
fn far() -> Path {
    Path { delay: Duration::from_millis(300), ..Path::default() }
}

#[test]
fn an_engine_computes_until_the_depot_has_answered_and_loads_the_rest() -> anyhow::Result<()> {
    let bench = Bench::put(Level::Q3, Stored::NUM_TOKENS)?;
    let goal = Goal { qualities: 3, deadline: None };
    // More than a chunk, and not all, before the answer.
    let (report, held) = bench.obtain(far(), 1e-3, goal, &CpuDecoder)?;
    bench.check(&report, &held)?;
    assert!(matches!(report.chunks[0].fate, ChunkFate::Computed), "{report:?}");
    assert!(report.chunks[0].why.contains("not answered"), "{report:?}");
    Ok(())
}

#[test]
fn an_engine_that_is_done_before_the_depot_has_answered_loads_nothing() -> anyhow::Result<()> {
    let bench = Bench::put(Level::Q3, Stored::NUM_TOKENS)?;
    let goal = Goal { qualities: 3, deadline: None };
    let (report, held) = bench.obtain(far(), 1e-5, goal, &CpuDecoder)?;
    assert!(held == bench.stored.whole()?, "{report:?}");
    assert_eq!((report.payload_bytes, report.loaded_tokens()), (0, 0), "{report:?}");
    assert!(report.steps[0].what.contains("not answered"), "{report:?}");
    Ok(())
}

#[test]
fn in_an_exact_scope_what_is_not_computed_is_lossless() -> anyhow::Result<()> {
    let bench = Bench::put(Level::Q0, Stored::NUM_TOKENS)?;
    for deadline in [1, 200] {
        let goal = Goal { qualities: 3, deadline: Some(Duration::from_millis(deadline)) };
        let (report, held) = bench.obtain(Path::default(), 1e-5, goal, &CpuDecoder)?;
        bench.check(&report, &held)?;
        assert!(held == bench.stored.whole()?, "{report:?}");
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
    let bench = Bench::put(Level::Q3, Stored::NUM_TOKENS)?;
    let decoder = BrokenDecoder { refused: bench.stored.chunks[5].segments[0].bytes.clone() };
    let goal = Goal { qualities: 3, deadline: None };
    // Slow enough that all chunks have come before the engine reaches the third.
    let (report, held) = bench.obtain(Path::default(), 1e-3, goal, &decoder)?;
    bench.check(&report, &held)?;
    assert!(report.failure.as_deref().is_some_and(|failure| failure.contains("refused")), "{report:?}");
    assert_eq!(qualities(&report).len(), 2, "{report:?}");
    Ok(())
}
