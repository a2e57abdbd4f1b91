//! `kvdepot-engine ask`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kvdepot_client::{Error, files};
use kvdepot_codec::Level;
use kvdepot_engine::{GroupReport, Request, Sampling, Sharing};
use kvdepot_proto::stream::Goal;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::depot::DepotArgs;
use super::engine::{Engine, EngineArgs, millis};
use super::fetch_report::{FetchReport, LayersTimes};
use super::report::Outcome;
use super::scope::ScopeArgs;

#[derive(Debug, clap::Args)]
pub(super) struct AskArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Text that all requests share
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Requests: JSON lines with `id` and `suffix`, the text that follows the shared one
    #[arg(long, value_name = "FILE.jsonl")]
    requests: PathBuf,
    /// Most tokens to decode for each request
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_tokens: usize,
    /// Whether the requests read the shared text's KV together; it changes the speed and no output
    #[arg(long, value_enum, default_value_t = SharingArg::On)]
    sharing: SharingArg,
    /// Take KV of lossy levels from the depot
    #[arg(long)]
    lossy: bool,
    /// Compute the shared text from its beginning while its end comes from the depot, until the two meet
    #[arg(long, conflicts_with = "order")]
    overlap: bool,
    /// In which order the shared text's KV comes from the depot
    #[arg(long, value_enum, default_value_t = OrderArg::Chunks)]
    order: OrderArg,
    #[command(flatten)]
    goal: GoalArgs,
    /// Say of each chunk whether it was computed or loaded, and why
    #[arg(long, requires = "overlap")]
    explain: bool,
    #[command(flatten)]
    depot: DepotArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// What the shared text's KV is to be, while it comes from both ends.
#[derive(Debug, clap::Args)]
struct GoalArgs {
    /// Have the shared text's KV after so many milliseconds, as good as it is by then
    #[arg(long, value_name = "N", requires = "overlap", value_parser = clap::value_parser!(u64).range(1..))]
    deadline_ms: Option<u64>,
    /// Load at most so many quality layers of each chunk. All when left out
    #[arg(long, value_name = "N", requires = "overlap")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(Level::MAX_QUALITIES)))]
    qualities: Option<u8>,
}

impl GoalArgs {
    fn goal(&self) -> Goal {
        Goal {
            qualities: self.qualities.unwrap_or(Level::MAX_QUALITIES),
            deadline: self.deadline_ms.map(Duration::from_millis),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OrderArg {
    /// All of it before anything is computed
    Chunks,
    /// Layer by layer: the model's first layers compute the first request's suffix while later ones come
    Layers,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SharingArg {
    /// As one prefix group
    On,
    /// Each request by itself
    Off,
}

/// One line of the requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRequest {
    id: String,
    suffix: String,
}

/// What was answered, and how fast.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answers {
    pub(super) context_tokens: usize,
    /// Tokens of the shared text whose KV came from the depot: leading ones, or with --overlap those behind what was
    /// computed.
    pub(super) cached_tokens: usize,
    /// Why the depot did not have the rest.
    pub(super) miss_reason: Option<String>,
    /// Bytes that came over the data plane.
    pub(super) payload_bytes: u64,
    /// From asking for the shared text's KV to the first token of the first request.
    pub(super) ttft_ms: f64,
    /// Tokens of all requests together, over the steps that only decode.
    pub(super) decode_tokens_per_sec: f64,
    /// What each chunk came to be while loading and computing overlapped, with --explain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fetch: Option<FetchReport>,
    /// How the context came, where that was layer by layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) layers: Option<LayersTimes>,
    pub(super) answers: Vec<Answer>,
}

/// One request's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) tokens: Vec<u32>,
    pub(super) text: String,
    pub(super) finish_reason: String,
}

impl AskArgs {
    pub(super) fn run(&self) -> anyhow::Result<Answers> {
        let asked = read_requests(&self.requests)?;
        let depot = self.depot.connect()?;
        let engine = self.engine.load()?;
        let scope = self.scope.scope(&engine, self.lossy)?;
        let tokens = engine.tokens_of(&self.text)?;
        let requests = asked.iter().map(|one| self.request(&engine, one)).collect::<anyhow::Result<Vec<_>>>()?;

        let started = Instant::now();
        let from = depot.as_ref().map(|depot| (depot, &scope));
        let mut context = match from {
            Some(from) if self.overlap => {
                Context::obtain_from_both_ends(&engine.runner, from, &tokens, self.goal.goal())?
            }
            Some(from) if self.order == OrderArg::Layers => {
                Context::obtain_layerwise(&engine.runner, from, &tokens, &requests[0].suffix)?
            }
            _ => Context::obtain(&engine.runner, from, &tokens)?,
        };
        let fetch = context.fetch.take().filter(|_| self.explain).map(FetchReport::from);
        let ttft = match context.ttft {
            Some(ttft) => ttft,
            None => {
                let first = Request { max_tokens: 1, ..requests[0].clone() };
                engine.runner.decode_group(&context.prefix, &[first], Sharing::Off)?;
                started.elapsed()
            }
        };
        let report = engine.runner.decode_group(&context.prefix, &requests, self.sharing.into())?;
        Ok(Answers { fetch, ..answers(&engine, &asked, &context, ttft, &report)? })
    }

    fn request(&self, engine: &Engine, asked: &AskedRequest) -> anyhow::Result<Request> {
        Ok(Request {
            suffix: engine.text()?.encode_suffix(&asked.suffix)?,
            max_tokens: self.max_tokens,
            sampling: Sampling::default(),
            stop_tokens: engine.runner.model().config().eos_tokens.clone(),
            top_logprobs: 0,
        })
    }
}

impl From<SharingArg> for Sharing {
    fn from(argument: SharingArg) -> Self {
        match argument {
            SharingArg::On => Self::On,
            SharingArg::Off => Self::Off,
        }
    }
}

fn answers(
    engine: &Engine,
    asked: &[AskedRequest],
    context: &Context,
    ttft: Duration,
    report: &GroupReport,
) -> anyhow::Result<Answers> {
    let answer = |(asked, completion): (&AskedRequest, &kvdepot_engine::Completion)| {
        Ok(Answer {
            id: asked.id.clone(),
            tokens: completion.tokens.clone(),
            text: engine.text()?.decode(&completion.tokens)?,
            finish_reason: completion.finish_reason.name().to_owned(),
        })
    };
    Ok(Answers {
        context_tokens: context.prefix.tokens().len(),
        cached_tokens: context.cached_tokens,
        miss_reason: context.miss_reason.clone(),
        payload_bytes: context.payload_bytes,
        ttft_ms: millis(ttft),
        decode_tokens_per_sec: report.decode.tokens_per_sec(),
        fetch: None,
        layers: context.layers.map(LayersTimes::from),
        answers: asked.iter().zip(&report.completions).map(answer).collect::<anyhow::Result<_>>()?,
    })
}

/// Reads JSON lines, at least one; ids are unique.
fn read_requests(path: &Path) -> anyhow::Result<Vec<AskedRequest>> {
    let text = files::read_text(path)?;
    let mut requests: Vec<AskedRequest> = Vec::new();
    for (idx, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}:{}", path.display(), idx + 1);
        let request: AskedRequest = serde_json::from_str(line)
            .map_err(|error| Error::invalid(format!("{}: not a request: {error}", place())))?;
        if requests.iter().any(|other| other.id == request.id) {
            return Err(Error::invalid(format!("{}: id {:?} is taken", place(), request.id)).into());
        }
        requests.push(request);
    }
    match requests.is_empty() {
        true => Err(Error::invalid(format!("{} holds no requests", path.display())).into()),
        false => Ok(requests),
    }
}

impl Outcome for Answers {}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Answer { id, text, .. } in &self.answers {
            writeln!(f, "{id}: {text:?}")?;
        }
        self.fetch.iter().try_for_each(|fetch| writeln!(f, "{fetch}"))?;
        self.layers.iter().try_for_each(|layers| writeln!(f, "{layers}"))?;
        write!(
            f,
            "{} of {} context tokens from the depot; first token after {:.0} ms; {:.0} tokens/s decoded",
            self.cached_tokens, self.context_tokens, self.ttft_ms, self.decode_tokens_per_sec
        )
    }
}
