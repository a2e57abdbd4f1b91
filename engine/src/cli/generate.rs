//! `kvdepot-engine generate`.

use std::fmt;
use std::path::PathBuf;

use kvdepot_client::Error;
use kvdepot_engine::{Request, Sampling, Sharing};
use serde::Serialize;

use super::context::Context;
use super::depot::DepotArgs;
use super::engine::{Engine, EngineArgs, millis};
use super::report::Outcome;
use super::scope::ScopeArgs;

#[derive(Debug, clap::Args)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Most tokens to decode
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Take KV of lossy levels from the depot
    #[arg(long)]
    lossy: bool,
    #[command(flatten)]
    depot: DepotArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct PromptArgs {
    /// Text to continue
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Token ids to continue, taken as they are
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    prompt_tokens: Option<Vec<u32>>,
}

/// How tokens are chosen; by default the most probable one.
#[derive(Debug, clap::Args)]
struct SamplingArgs {
    /// Spread of the choice; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Choose among this many most probable tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Choose among the most probable tokens that together have this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Choose among tokens at least this many times as probable as the most probable one
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f32,
    /// Equal seeds give equal choices
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
}

/// A continued prompt.
#[derive(Debug, Serialize)]
pub(super) struct Generated {
    /// Chosen tokens.
    tokens: Vec<u32>,
    /// Their text; none where the model has no tokenizer.
    text: Option<String>,
    /// Natural logarithm of each chosen token's probability.
    logprobs: Vec<f32>,
    finish_reason: &'static str,
    prompt_tokens: usize,
    /// Leading tokens of the prompt whose KV came from the depot.
    cached_tokens: usize,
    /// Why the depot did not have the rest.
    miss_reason: Option<String>,
    prefill_ms: f64,
    decode_tokens_per_sec: f64,
}

impl GenerateArgs {
    pub(super) fn run(&self) -> anyhow::Result<Generated> {
        let depot = self.depot.connect()?;
        let engine = self.engine.load()?;
        let scope = self.scope.scope(&engine, self.lossy)?;
        let prompt = self.prompt.tokens(&engine)?;
        let context = Context::obtain(&engine.runner, depot.as_ref().map(|depot| (depot, &scope)), &prompt)?;
        let request = Request {
            suffix: vec![],
            max_tokens: self.max_tokens,
            sampling: self.sampling.sampling(),
            stop_tokens: engine.runner.model().config().eos_tokens.clone(),
            top_logprobs: 0,
        };
        let mut report = engine.runner.decode_group(&context.prefix, &[request], Sharing::Off)?;
        let completion = report.completions.remove(0);
        Ok(Generated {
            text: engine.tokenizer().map(|text| text.decode(&completion.tokens)).transpose()?,
            tokens: completion.tokens,
            logprobs: completion.logprobs,
            finish_reason: completion.finish_reason.name(),
            prompt_tokens: prompt.len(),
            cached_tokens: context.cached_tokens,
            miss_reason: context.miss_reason,
            prefill_ms: millis(context.elapsed),
            decode_tokens_per_sec: report.decode.tokens_per_sec(),
        })
    }
}

impl PromptArgs {
    fn tokens(&self, engine: &Engine) -> anyhow::Result<Vec<u32>> {
        match (&self.prompt_file, &self.prompt_tokens) {
            (Some(path), _) => engine.tokens_of(path),
            (None, Some(tokens)) if !tokens.is_empty() => Ok(tokens.clone()),
            (None, _) => Err(Error::invalid("the prompt has no tokens").into()),
        }
    }
}

impl SamplingArgs {
    fn sampling(&self) -> Sampling {
        let Self { temperature, top_k, top_p, min_p, seed } = *self;
        Sampling { temperature, top_k, top_p, min_p, seed }
    }
}

impl Outcome for Generated {}

impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text}"),
            None => write!(f, "{:?}", self.tokens),
        }
    }
}
