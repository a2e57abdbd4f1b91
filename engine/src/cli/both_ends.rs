//! A prefix from both ends: the engine computes chunks from the front while others come from the back, until they meet.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kvdepot_client::{Client, FetchEvent, FetchReport, FetchRequest};
use kvdepot_codec::{Geometry, KvChunk};
use kvdepot_engine::{Prefix, Runner};
use kvdepot_proto::stream::{
    Arrivals, ChunkLoad, Decision, EngineCosts, EngineStep, Goal, Reason, State, Wants, decide,
};
use kvdepot_proto::{Manifest, ReceivedSegment, Scope};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Longest wait before the decision is looked at again: bandwidth that falls shows in what does not come.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Tokens by which it is found out what computing takes, before the first decision: meanwhile the first segments come.
const PROBE_TOKENS: usize = 16;

/// A prefix, and how it came to be.
pub(super) struct Obtained {
    pub(super) prefix: Prefix,
    /// Tokens whose KV came from the depot.
    pub(super) loaded_tokens: usize,
    pub(super) payload_bytes: u64,
    pub(super) steps: Vec<Step>,
    /// Why the transfer ended early.
    pub(super) failure: Option<String>,
}

/// What was decided, when, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    /// Since the request.
    pub(super) ms: f64,
    /// The chunk at the front.
    pub(super) chunk: usize,
    pub(super) what: String,
}

/// Brings the longest stored prefix of `tokens` into pages.
///
/// When the transfer fails, what the engine has computed stays; whoever asks computes the rest.
pub(super) fn obtain(
    runtime: &Runtime,
    client: &Client,
    runner: &Runner,
    scope: &Scope,
    tokens: &[u32],
) -> anyhow::Result<Obtained> {
    let goal = Goal { qualities: Wants::default().max_qualities(), deadline: None };
    let request = FetchRequest { order: goal.order(), ..FetchRequest::tokens(scope.clone(), tokens.to_vec()) };
    let board = Board::new();
    let (say, wants) = watch::channel(request.wants);
    std::thread::scope(|threads| {
        let network = threads.spawn(|| {
            let fetch = client.fetch_steered(&request, wants, |event| {
                board.take(event);
                Ok(())
            });
            let fetched = runtime.block_on(fetch);
            board.end();
            fetched
        });
        let met = Engine { runner, tokens, goal, board: &board, say: &say }.meet();
        say.send_replace(Wants::new(u32::MAX, 0));
        let fetched = network.join().map_err(|_| anyhow::anyhow!("the network thread panicked"))?;
        finish(runner, tokens, &board, met?, fetched)
    })
}

/// What the network has brought, for the engine to look at.
struct Board {
    started: Instant,
    contents: Mutex<Contents>,
    changed: Condvar,
}

#[derive(Default)]
struct Contents {
    manifest: Option<Manifest>,
    loads: Vec<ChunkLoad>,
    chunks: Vec<Stage>,
    arrivals: Arrivals,
    has_ended: bool,
}

/// A chunk on its way.
enum Stage {
    Arriving(Vec<ReceivedSegment>),
    Decoding(mpsc::Receiver<kvdepot_codec::Result<KvChunk>>),
}

impl Board {
    fn new() -> Self {
        Self { started: Instant::now(), contents: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: FetchEvent<'_>) {
        let mut contents = self.lock();
        match event {
            FetchEvent::Manifest(manifest) => contents.begin(manifest),
            FetchEvent::Segment(segment) => {
                contents.arrivals.record(self.started.elapsed(), segment.bytes.len() as u64);
                contents.add(segment);
            }
        }
        drop(contents);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_one();
    }

    /// Waits until the manifest has come, or never will.
    fn wait_for_manifest(&self) -> MutexGuard<'_, Contents> {
        let is_waiting = |contents: &mut Contents| contents.manifest.is_none() && !contents.has_ended;
        self.changed.wait_while(self.lock(), is_waiting).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn begin(&mut self, manifest: &Manifest) {
        let geometry = manifest.spec.geometry;
        for chunk in &manifest.chunks {
            let mut load = ChunkLoad {
                num_tokens: chunk.num_tokens,
                kv_bytes: geometry.kv_bytes(chunk.num_tokens as usize) as u64,
                ..ChunkLoad::default()
            };
            for segment in &chunk.content.segments {
                let quality = usize::from(segment.key.quality);
                load.quality_bytes.resize(load.quality_bytes.len().max(quality + 1), 0);
                load.quality_bytes[quality] += segment.segment_bytes;
            }
            load.arrived_bytes = vec![0; load.quality_bytes.len()];
            self.loads.push(load);
            self.chunks.push(Stage::Arriving(Vec::new()));
        }
        self.manifest = Some(manifest.clone());
    }

    /// Takes a segment; starts to decode its chunk when that is whole.
    fn add(&mut self, segment: &ReceivedSegment) {
        let chunk_idx = segment.chunk_idx as usize;
        let load = &mut self.loads[chunk_idx];
        load.arrived_bytes[usize::from(segment.key.quality)] += segment.bytes.len() as u64;
        let (is_whole, num_tokens) = (load.arrived_bytes == load.quality_bytes, load.num_tokens as usize);
        if let Stage::Arriving(segments) = &mut self.chunks[chunk_idx] {
            segments.push(segment.clone());
            if let (true, Some(manifest)) = (is_whole, &self.manifest) {
                let decoded = start_decoding(manifest.spec.geometry, num_tokens, std::mem::take(segments));
                self.chunks[chunk_idx] = Stage::Decoding(decoded);
            }
        }
    }
}

fn start_decoding(
    geometry: Geometry,
    num_tokens: usize,
    segments: Vec<ReceivedSegment>,
) -> mpsc::Receiver<kvdepot_codec::Result<KvChunk>> {
    let (done, decoded) = mpsc::channel();
    rayon::spawn(move || {
        // Nobody may wait for it any more.
        let _ =
            done.send(kvdepot_codec::decode(geometry, num_tokens, segments.iter().map(|segment| &segment.bytes[..])));
    });
    decoded
}

/// The engine's end.
struct Engine<'a> {
    runner: &'a Runner,
    tokens: &'a [u32],
    goal: Goal,
    board: &'a Board,
    say: &'a watch::Sender<Wants>,
}

/// Where the ends met.
struct Met {
    prefix: Prefix,
    computed_chunks: usize,
    steps: Vec<Step>,
}

impl Engine<'_> {
    /// Computes chunk after chunk until the rest has come, or the transfer has ended.
    fn meet(&self) -> anyhow::Result<Met> {
        let mut met = Met { prefix: Prefix::default(), computed_chunks: 0, steps: Vec::new() };
        let first_tokens = self.board.wait_for_manifest().loads.first().map_or(0, |load| load.num_tokens as usize);
        let secs_per_token = self.compute_until(&mut met.prefix, first_tokens.min(PROBE_TOKENS))?;
        let mut costs =
            EngineCosts { secs_per_token, secs_per_attended_token: 0.0, decode_bytes_per_sec: f64::INFINITY };
        let mut computed_tokens = 0;
        let mut contents = self.board.lock();
        loop {
            let decision = self.decide(&mut contents, met.computed_chunks, costs);
            self.say
                .send_if_modified(|wants| wants.adjust(decision.wants.first_chunk(), decision.wants.max_qualities()));
            met.note(self.board.started.elapsed(), &decision);
            match decision.engine {
                EngineStep::Compute => {
                    computed_tokens += contents.loads[met.computed_chunks].num_tokens as usize;
                    drop(contents);
                    costs.secs_per_token = self.compute_until(&mut met.prefix, computed_tokens)?;
                    met.computed_chunks += 1;
                    contents = self.board.lock();
                }
                EngineStep::Wait if !contents.has_ended => {
                    let waited = self.board.changed.wait_timeout(contents, LOOK_AGAIN);
                    contents = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                EngineStep::Wait | EngineStep::Finish => break,
            }
        }
        if met.computed_chunks == 0 {
            // What was computed to find out is not a whole chunk.
            met.prefix = Prefix::default();
        }
        Ok(met)
    }

    /// Computes the prefix up to its `end`-th token; gives the seconds that a token took.
    fn compute_until(&self, prefix: &mut Prefix, end: usize) -> anyhow::Result<f64> {
        let (start, started) = (prefix.tokens().len(), Instant::now());
        self.runner.prefill(prefix, &self.tokens[start..end], |_| {})?;
        Ok(started.elapsed().as_secs_f64() / (end - start).max(1) as f64)
    }

    fn decide(&self, contents: &mut Contents, computed: usize, costs: EngineCosts) -> Decision {
        let elapsed = self.board.started.elapsed();
        let bytes_per_sec = contents.arrivals.bytes_per_sec(elapsed);
        let state = State {
            elapsed,
            chunks: &contents.loads,
            computed,
            is_computing: false,
            bytes_per_sec,
            costs,
            goal: self.goal,
        };
        decide(&state)
    }
}

impl Met {
    /// Notes a decision that differs from the last one.
    fn note(&mut self, elapsed: Duration, decision: &Decision) {
        let what = match decision.reason {
            Reason::ComputeIsSooner { compute_secs, load_secs } => {
                format!("compute: {:.0} ms, loading what is missing {:.0} ms", 1e3 * compute_secs, 1e3 * load_secs)
            }
            Reason::LoadIsSooner { .. } => "wait: loading is sooner".to_owned(),
            Reason::Complete => "the ends have met".to_owned(),
            other => format!("{other:?}"),
        };
        if self.steps.last().is_none_or(|last| last.what != what) {
            self.steps.push(Step { ms: 1e3 * elapsed.as_secs_f64(), chunk: self.computed_chunks, what });
        }
    }
}

/// Puts what came behind what was computed.
fn finish(
    runner: &Runner,
    tokens: &[u32],
    board: &Board,
    met: Met,
    fetched: kvdepot_client::Result<FetchReport>,
) -> anyhow::Result<Obtained> {
    let Met { mut prefix, computed_chunks, steps } = met;
    let computed_tokens = prefix.tokens().len();
    let contents = std::mem::take(&mut *board.lock());
    let (payload_bytes, failure) = match fetched {
        Ok(report) => (report.payload_bytes, None),
        Err(error) => (0, Some(error.to_string())),
    };
    for (stage, load) in contents.chunks.into_iter().zip(&contents.loads).skip(computed_chunks) {
        let Stage::Decoding(decoded) = stage else { break };
        let chunk = decoded.recv().context("the decoder of a chunk panicked")?.map_err(kvdepot_client::Error::from)?;
        let start = prefix.tokens().len();
        runner.append(&mut prefix, &tokens[start..start + load.num_tokens as usize], &chunk)?;
    }
    let loaded_tokens = prefix.tokens().len() - computed_tokens;
    Ok(Obtained { prefix, loaded_tokens, payload_bytes, steps, failure })
}
