//! `kvdepot-engine bench fetch`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kvdepot_client::{
    BothEnds, BothEndsReport, ChunkFate, Client, ConnectOptions, FetchRequest, SendOrder, TransportChoice, Wants, files,
};
use kvdepot_codec::{Level, dump::KvDump};
use kvdepot_proto::stream::{ChunkLoad, EngineCosts, Goal};
use tokio::runtime::Runtime;

use super::super::report::Outcome;
use super::contexts::{Contexts, Stored};
use super::curve::Curve;
use super::hindsight::best_secs;
use super::measured;
use super::results::{ContextResult, EngineResult, TraceResult, WayResult};
use super::shaper::{LinkEnd, Shaper};
use super::timed::{self, BenchDecoder, TimedEngine};
use super::trace::Trace;
use super::way::Way;

/// A transfer that would take longer is calculated.
const PATIENCE_SECS: f64 = 6.0;
/// Between two fetches, what the first one did not want any more leaves the link.
const PAUSE: Duration = Duration::from_millis(200);

/// Deadlines that are tried: 0.5, 1 and 2 s.
pub(super) const GOALS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// The engine is simulated: it spends the time of one of the given costs, or of this machine's, and holds nothing. Transfers are real: everything
/// goes through the depot. KV is that of a dump, repeated; raw bf16 and int8 are random bits of the same size. Connections are
/// warm.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct FetchArgs {
    /// Depot to use: unix:/path/kvdepot.sock or https://host:port
    #[arg(long, value_name = "URL", env = "KVDEPOT_URL")]
    depot: String,
    /// Certificate to trust, in PEM (with https)
    #[arg(long, value_name = "FILE", env = "KVDEPOT_CA")]
    ca: Option<PathBuf>,
    /// Where the depot's data plane is reached, if not where it says
    #[arg(long, value_name = "IP:PORT")]
    quic: Option<SocketAddr>,
    /// What the link gives over time
    #[arg(long, value_name = "FILE.trace")]
    trace: PathBuf,
    /// The sending end of the link, which then follows the trace from each request on: a process in its network namespace,
    /// and the device
    #[arg(long, value_name = "PID:DEVICE")]
    shape: Option<LinkEnd>,
    /// KV to store, as `kvdepot codec synth` makes it
    #[arg(long, value_name = "FILE.safetensors")]
    kv: PathBuf,
    /// Tokens of the contexts
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1536,6144")]
    contexts: Vec<usize>,
    /// Tokens that the engine prefills per second, but for attention. By default those of 149.7 TFLOP/s (an NVIDIA A40's, in
    /// bf16) used by half, at 2 FLOP for each of 8.03e9 weights
    #[arg(long, value_name = "N", default_value_t = 4_660.0)]
    prefill_tokens_per_sec: f64,
    /// Prefill as fast as this machine prefills this model, which is measured first: a Hugging Face directory
    #[arg(long, value_name = "DIR", conflicts_with = "prefill_tokens_per_sec")]
    model: Option<PathBuf>,
    /// Bytes of KV that the engine decodes per second; without it, this machine decodes
    #[arg(long, value_name = "N")]
    decode_bytes_per_sec: Option<f64>,
}

impl FetchArgs {
    pub(super) fn run(&self) -> anyhow::Result<TraceResult> {
        let runtime = Runtime::new().context("cannot start the network runtime")?;
        let options = ConnectOptions {
            ca: self.ca.clone(),
            transport: TransportChoice::Quic,
            quic_address: self.quic,
            ..ConnectOptions::new(&self.depot)
        };
        let client = runtime.block_on(Client::connect(&options))?;
        let chunk_tokens = runtime.block_on(client.chunk_tokens())?;
        let bytes = files::read(&self.kv)?;
        let longest = self.contexts.iter().copied().max().unwrap_or_default();
        let contexts = Contexts::new(&KvDump::parse(&bytes)?, longest, chunk_tokens)?;
        for stored in Stored::ALL {
            runtime.block_on(contexts.put(&client, stored))?;
        }
        let shaper = self.shape.clone().map(Shaper::start).transpose()?;
        let costs = self.costs()?;
        let mut bench = Bench {
            runtime,
            client,
            contexts,
            shaper,
            trace: Trace::read(&self.trace)?,
            costs,
            decoder: self.decoder(),
        };
        let contexts = self.contexts.iter().map(|tokens| bench.context(*tokens)).collect::<anyhow::Result<_>>()?;
        let engine = EngineResult {
            prefill_tokens_per_sec: costs.secs_per_token.recip(),
            decode_bytes_per_sec: self.decode_bytes_per_sec,
        };
        let Trace { name: trace, rtt_ms, loss_percent, .. } = bench.trace;
        Ok(TraceResult { trace, rtt_ms, loss_percent, engine, contexts })
    }

    fn costs(&self) -> anyhow::Result<EngineCosts> {
        let decode_bytes_per_sec = self.decode_bytes_per_sec.unwrap_or(f64::INFINITY);
        match &self.model {
            Some(dir) => Ok(EngineCosts { decode_bytes_per_sec, ..measured::prefill_costs(dir)? }),
            None => Ok(timed::costs(self.prefill_tokens_per_sec, decode_bytes_per_sec)),
        }
    }

    fn decoder(&self) -> BenchDecoder {
        self.decode_bytes_per_sec.map_or(BenchDecoder::Here, BenchDecoder::BytesPerSec)
    }
}

/// One trace, and all that is measured over it.
struct Bench {
    runtime: Runtime,
    client: Client,
    contexts: Contexts,
    shaper: Option<Shaper>,
    trace: Trace,
    costs: EngineCosts,
    decoder: BenchDecoder,
}

impl Bench {
    fn context(&mut self, tokens: usize) -> anyhow::Result<ContextResult> {
        let tokens = self.contexts.whole_chunks(tokens);
        let ways = Way::all(&GOALS).into_iter().map(|way| self.way(way, tokens)).collect::<anyhow::Result<_>>()?;
        let chunks = self.chunks(Stored::At(Level::Q3), tokens)?;
        let curve = self.curve(&chunks, tokens)?;
        let best_ms = |qualities| 1e3 * best_secs(&chunks, qualities, &curve, self.costs);
        Ok(ContextResult { tokens, ways, best_ms: best_ms(Level::MAX_QUALITIES), best_base_ms: best_ms(1) })
    }

    /// Measures a way, or calculates it where loading would take too long.
    fn way(&mut self, way: Way, tokens: usize) -> anyhow::Result<WayResult> {
        let (Some(stored), Way::Load { qualities, .. } | Way::Controller { qualities, .. }) = (way.stored(), way)
        else {
            let ttft_ms = 1e3 * self.costs.compute_secs(0, tokens as u64);
            return Ok(WayResult { computed_tokens: tokens, ..calculated(way, ttft_ms, 0) });
        };
        let bytes: u64 = self.chunks(stored, tokens)?.iter().map(|chunk| leading_bytes(chunk, qualities)).sum();
        let secs = self.trace.transfer_secs(bytes);
        if matches!(way, Way::Load { .. }) && secs > PATIENCE_SECS {
            return Ok(calculated(way, 1e3 * secs, bytes));
        }
        let scope = self.contexts.scope(stored)?;
        let all = std::mem::take(&mut self.contexts.tokens);
        let report = self.shaped(|bench| {
            let (goal, costs, decoder) = bench.goal(way);
            let what = BothEnds { scope: &scope, tokens: &all[..tokens], goal };
            let mut engine = TimedEngine::new(costs);
            bench.client.load_from_both_ends(bench.runtime.handle(), what, &mut engine, &decoder)
        });
        self.contexts.tokens = all;
        measured(way, report?)
    }

    /// What the controller is told, and who decodes.
    fn goal(&self, way: Way) -> (Goal, EngineCosts, BenchDecoder) {
        let loads = EngineCosts { secs_per_token: f64::INFINITY, ..self.costs };
        match way {
            Way::Controller { qualities, deadline } => (Goal { qualities, deadline }, self.costs, self.decoder),
            Way::Load { stored: Stored::At(_), qualities } => (Goal { qualities, deadline: None }, loads, self.decoder),
            // Copying and scaling are taken to cost nothing.
            _ => {
                let goal = Goal { qualities: Level::MAX_QUALITIES, deadline: None };
                (goal, loads, BenchDecoder::BytesPerSec(f64::INFINITY))
            }
        }
    }

    /// What a loaded context consists of.
    fn chunks(&self, stored: Stored, tokens: usize) -> anyhow::Result<Vec<ChunkLoad>> {
        let scope = self.contexts.scope(stored)?;
        let found = self.runtime.block_on(self.client.matches(&scope, &self.contexts.tokens[..tokens]))?;
        Ok(found.chunks.iter().map(|chunk| ChunkLoad::new(&scope.spec.geometry, chunk)).collect())
    }

    /// What the link gives over time.
    fn curve(&mut self, chunks: &[ChunkLoad], tokens: usize) -> anyhow::Result<Curve> {
        let bytes = chunks.iter().map(|chunk| leading_bytes(chunk, Level::MAX_QUALITIES)).sum();
        if self.trace.transfer_secs(bytes) > PATIENCE_SECS {
            return Ok(Curve::Nominal(self.trace.clone()));
        }
        let scope = self.contexts.scope(Stored::At(Level::Q3))?;
        let request = FetchRequest {
            order: SendOrder::ChunksFromBack,
            ..FetchRequest::tokens(scope, self.contexts.tokens[..tokens].to_vec())
        };
        self.shaped(|bench| bench.runtime.block_on(Curve::measure(&bench.client, &request)))
    }

    /// Runs a fetch over the link, from the trace's beginning on.
    fn shaped<T>(&mut self, fetch: impl FnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        std::thread::sleep(PAUSE);
        self.warm_up()?;
        let playing = match &mut self.shaper {
            Some(shaper) => Some(shaper.play(&self.trace)?),
            None => None,
        };
        let fetched = fetch(self);
        if let (Some(shaper), Some(playing)) = (&mut self.shaper, playing) {
            shaper.end(playing)?;
        }
        fetched
    }

    /// Makes sure that a connection is open.
    fn warm_up(&self) -> anyhow::Result<()> {
        let scope = self.contexts.scope(Stored::At(Level::Q3))?;
        let first = FetchRequest { wants: Wants::new(u32::MAX, 1), ..FetchRequest::tokens(scope, vec![0]) };
        self.runtime.block_on(self.client.fetch(&first, |_| Ok(())))?;
        Ok(())
    }
}

fn leading_bytes(chunk: &ChunkLoad, qualities: u8) -> u64 {
    chunk.quality_bytes.iter().take(qualities.into()).sum()
}

fn calculated(way: Way, ttft_ms: f64, payload_bytes: u64) -> WayResult {
    let way = way.name();
    WayResult { way, ttft_ms, payload_bytes, computed_tokens: 0, qualities: None, is_calculated: true }
}

fn measured(way: Way, report: BothEndsReport) -> anyhow::Result<WayResult> {
    if let Some(failure) = report.failure {
        anyhow::bail!("{}: {failure}", way.name());
    }
    let layers = report.chunks.iter().filter_map(|chunk| match chunk.fate {
        ChunkFate::Loaded { qualities, .. } => Some(f64::from(qualities)),
        ChunkFate::Computed | ChunkFate::Missing => None,
    });
    let (sum, loaded) = layers.fold((0.0, 0), |(sum, loaded), qualities| (sum + qualities, loaded + 1));
    let tokens: usize = report.chunks.iter().map(|chunk| chunk.tokens as usize).sum();
    Ok(WayResult {
        way: way.name(),
        ttft_ms: 1e3 * report.elapsed.as_secs_f64(),
        payload_bytes: report.payload_bytes,
        computed_tokens: tokens - report.loaded_tokens(),
        qualities: (loaded > 0).then(|| sum / f64::from(loaded)),
        is_calculated: false,
    })
}

impl Outcome for TraceResult {}

impl fmt::Display for TraceResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", super::markdown::legend(&self.engine))?;
        write!(f, "{}", super::markdown::table(std::slice::from_ref(self)))
    }
}
