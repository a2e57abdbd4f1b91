//! The engine's way to the depot: prefixes come from it, and go to it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kvdepot_client::{
    BothEnds, BothEndsReport, Client, ConnectOptions, CpuDecoder, EncodedChunk, FetchRequest, FetchedKv, LayersReport,
    Match, Prefetch, PutReport,
};
use kvdepot_codec::{EncodeOptions, KvChunk, Level, Rope, encode};
use kvdepot_engine::{Prefix, Runner};
use kvdepot_proto::stream::Goal;
use kvdepot_proto::{ErrorKind, Scope};
use rayon::prelude::*;
use tokio::runtime::Runtime;

use super::both_ends::{Layers, RunnerEnd};
use super::progress;

/// How many contexts a depot is asked about at a time.
const MATCHES_AT_ONCE: usize = 16;

/// How to reach a depot.
#[derive(Debug, clap::Args)]
pub(super) struct DepotArgs {
    /// Depot to use: unix:/path/kvdepot.sock or https://host:port; without it, everything is computed here
    #[arg(long, value_name = "URL", env = "KVDEPOT_URL")]
    depot: Option<String>,
    /// Certificate to trust, in PEM (with https)
    #[arg(long, value_name = "FILE", env = "KVDEPOT_CA", requires = "depot")]
    ca: Option<PathBuf>,
}

/// A depot, connected.
pub(super) struct Depot {
    runtime: Runtime,
    client: Client,
}

/// What the depot gave for a token sequence.
#[derive(Default)]
pub(super) struct Loaded {
    /// The matched tokens and their KV; empty on a miss.
    pub(super) prefix: Prefix,
    /// Bytes that came over the data plane.
    pub(super) payload_bytes: u64,
    /// Why not everything matched.
    pub(super) miss_reason: Option<String>,
}

/// What came of a prefix whose first layers were used while later ones came.
pub(super) struct LoadedLayers {
    /// All tokens that were asked for.
    pub(super) prefix: Prefix,
    /// Those that came from the depot.
    pub(super) matched_tokens: usize,
    /// From asking until the logits after the suffix were there.
    pub(super) ttft: Duration,
    pub(super) report: LayersReport,
}

impl DepotArgs {
    /// Connects, if a depot is named.
    pub(super) fn connect(&self) -> anyhow::Result<Option<Depot>> {
        self.depot.as_deref().map(|url| Depot::connect(url, self.ca.clone())).transpose()
    }

    /// Connects to the depot, which must be named.
    pub(super) fn require(&self) -> anyhow::Result<Depot> {
        let unnamed = || kvdepot_client::Error::invalid("no depot named: pass --depot URL or set KVDEPOT_URL");
        Ok(self.connect()?.ok_or_else(unnamed)?)
    }
}

impl Depot {
    fn connect(url: &str, ca: Option<PathBuf>) -> anyhow::Result<Self> {
        let runtime = Runtime::new().context("cannot start the network runtime")?;
        let options = ConnectOptions { ca, ..ConnectOptions::new(url) };
        let client = runtime.block_on(Client::connect(&options))?;
        Ok(Self { runtime, client })
    }

    /// Tokens of a whole chunk.
    pub(super) fn chunk_tokens(&self) -> kvdepot_client::Result<usize> {
        self.runtime.block_on(self.client.chunk_tokens())
    }

    /// The connection.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Brings the longest stored prefix of `tokens` into pages.
    ///
    /// A miss gives an empty prefix, and so do chunks that are gone or corrupt by the time they are fetched: whoever asks
    /// computes the rest in any case.
    pub(super) fn load(&self, runner: &Runner, scope: &Scope, tokens: &[u32]) -> anyhow::Result<Loaded> {
        let fetched = match self.fetch(scope, tokens) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                return Ok(Loaded::miss(error.to_string()));
            }
            fetched => fetched?,
        };
        let matched_tokens = fetched.manifest.end_token();
        let prefix = runner.import(&tokens[..matched_tokens], &fetched.chunks)?;
        let miss_reason = match matched_tokens == tokens.len() {
            true => None,
            false => self.runtime.block_on(self.client.matches(scope, tokens))?.miss_reason,
        };
        Ok(Loaded { prefix, payload_bytes: fetched.report.payload_bytes, miss_reason })
    }

    /// Brings the longest stored prefix of `tokens` into pages, computing from the front what has not come from the back.
    pub(super) fn load_from_both_ends(
        &self,
        runner: &Runner,
        (scope, tokens): (&Scope, &[u32]),
        goal: Goal,
    ) -> anyhow::Result<(Prefix, BothEndsReport)> {
        let mut end = RunnerEnd { runner, tokens, prefix: Prefix::default() };
        let what = BothEnds { scope, tokens, goal };
        let report = self.client.load_from_both_ends(self.runtime.handle(), what, &mut end, &CpuDecoder)?;
        Ok((end.prefix, report))
    }

    /// Brings the longest stored prefix of `tokens` into pages layer by layer, and computes the rest of them and `suffix`, which is
    /// not empty, meanwhile; gives the KV of `tokens`.
    pub(super) fn load_layerwise(
        &self,
        runner: &Runner,
        (scope, tokens): (&Scope, &[u32]),
        suffix: &[u32],
    ) -> anyhow::Result<LoadedLayers> {
        let started = Instant::now();
        let mut layers = Layers(self.client.fetch_layers(self.runtime.handle(), scope, tokens)?);
        let matched_tokens = layers.0.manifest().end_token();
        if matched_tokens == 0 {
            return Err(kvdepot_client::Error::new(ErrorKind::NotFound, "nothing of the context is stored").into());
        }
        let (stored, rest) = tokens.split_at(matched_tokens);
        let (mut prefix, _) = runner.continue_layerwise(stored, &[rest, suffix].concat(), &mut layers)?;
        let ttft = started.elapsed();
        runner.truncate(&mut prefix, tokens.len())?;
        Ok(LoadedLayers { prefix, matched_tokens, ttft, report: layers.0.report() })
    }

    /// How much of each context is stored, and in chunks of how many tokens; that is kept for so long.
    pub(super) fn matches(
        &self,
        scope: &Scope,
        contexts: &[&[u32]],
        lease: Duration,
    ) -> kvdepot_client::Result<Vec<Match>> {
        self.runtime.block_on(async {
            let mut found = Vec::with_capacity(contexts.len());
            for some in contexts.chunks(MATCHES_AT_ONCE) {
                let asked = some.iter().map(|tokens| {
                    let (client, scope, tokens) = (self.client.clone(), scope.clone(), tokens.to_vec());
                    tokio::spawn(async move { client.matches_leased(&scope, &tokens, lease).await })
                });
                for answer in asked.collect::<Vec<_>>() {
                    found.push(answer.await.map_err(|error| internal(&error))??);
                }
            }
            Ok(found)
        })
    }

    /// Begins to bring the stored prefix of `tokens` behind its first `skip_chunks` chunks.
    pub(super) fn prefetch(&self, what: (&Scope, &[u32]), skip_chunks: u32, chunk_tokens: usize) -> Prefetch {
        self.client.prefetch(self.runtime.handle(), what, skip_chunks, chunk_tokens)
    }

    /// Stores a context that was encoded, without a progress bar.
    pub(super) fn put_quietly(
        &self,
        scope: &Scope,
        tokens: &[u32],
        chunks: &[EncodedChunk],
    ) -> kvdepot_client::Result<PutReport> {
        self.runtime.block_on(self.client.put(scope, tokens, chunks, |_| {}))
    }

    fn fetch(&self, scope: &Scope, tokens: &[u32]) -> kvdepot_client::Result<FetchedKv> {
        let request = FetchRequest::tokens(scope.clone(), tokens.to_vec());
        let bar = progress::bytes("fetch");
        let fetched = self.runtime.block_on(self.client.fetch_kv(&request, |progress| {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.received_bytes);
        }));
        bar.finish_and_clear();
        fetched
    }

    /// Encodes a prefix's KV, in the chunks that the depot cuts contexts into.
    pub(super) fn encode(&self, runner: &Runner, prefix: &Prefix, level: Level) -> anyhow::Result<Vec<EncodedChunk>> {
        let chunk_tokens = self.chunk_tokens()?;
        let num_tokens = prefix.tokens().len();
        let rope = runner.model().config().rope;
        let bar = progress::chunks("encode", num_tokens.div_ceil(chunk_tokens));
        let encode_from = |start: usize| {
            let chunk = runner.export(prefix, start..num_tokens.min(start + chunk_tokens))?;
            let encoded = encode_at(&chunk, level, rope, start)?;
            bar.inc(1);
            Ok(encoded)
        };
        let starts: Vec<usize> = (0..num_tokens).step_by(chunk_tokens).collect();
        let chunks = starts.into_par_iter().map(encode_from).collect();
        bar.finish_and_clear();
        chunks
    }

    /// Stores a context; only what the depot lacks is sent.
    pub(super) fn put(&self, scope: &Scope, tokens: &[u32], chunks: &[EncodedChunk]) -> anyhow::Result<PutReport> {
        let bar = progress::bytes("put");
        let report = self.runtime.block_on(self.client.put(scope, tokens, chunks, |progress| {
            bar.set_length(progress.total_bytes);
            bar.set_position(progress.sent_bytes);
        }));
        bar.finish_and_clear();
        Ok(report?)
    }
}

impl Loaded {
    fn miss(reason: String) -> Self {
        Self { miss_reason: Some(reason), ..Self::default() }
    }
}

/// Encodes a chunk that begins at position `start` of its context.
pub(super) fn encode_at(
    chunk: &KvChunk,
    level: Level,
    rope: Rope,
    start: usize,
) -> kvdepot_codec::Result<EncodedChunk> {
    let segments = encode(chunk, &EncodeOptions::new(level).at(rope, start as u64))?;
    Ok(EncodedChunk { level, segments })
}

fn internal(error: &dyn std::error::Error) -> kvdepot_client::Error {
    kvdepot_client::Error::new(ErrorKind::Internal, error.to_string())
}
