//! `kvdepot-engine generate`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use kvdepot_engine::{Completion, Error, ErrorKind, Pace, Prefix, Request, Runner, Sampling, Sharing, TextCodec};
use serde::Serialize;

use super::model::{ModelArgs, read_text};
use super::progress;

#[derive(Args)]
pub(super) struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Most tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_tokens: usize,
    /// Divides the logits; 0 always takes the most probable token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Draw from the K most probable tokens only; 0 for all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Draw from the most probable tokens that together reach P only.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on past the model's end tokens.
    #[arg(long)]
    ignore_eos: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct PromptArgs {
    /// File with the prompt; it is tokenized as the beginning of a text.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// The prompt as token ids, taken as they are.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    prompt_tokens: Vec<u32>,
}

/// What is printed with `--json`.
#[derive(Serialize)]
struct Report<'a> {
    tokens: &'a [u32],
    /// None without a tokenizer.
    text: Option<String>,
    /// Natural logarithms of the tokens' probabilities.
    logprobs: &'a [f32],
    finish_reason: &'static str,
    prompt_tokens: usize,
    /// Tokens of the prompt whose KV was fetched and not computed.
    cached_tokens: usize,
    timings: Timings,
}

#[derive(Clone, Copy, Serialize)]
struct Timings {
    load_ms: f64,
    prefill_ms: f64,
    decode_ms: f64,
    prefill_tokens_per_sec: f64,
    decode_tokens_per_sec: f64,
}

impl GenerateArgs {
    pub(super) fn run(self) -> Result<()> {
        let started = Instant::now();
        let runner = self.model.runner()?;
        let load = started.elapsed();
        let text_codec = self.text_codec(&runner)?;
        let prompt = self.prompt.tokens(text_codec.as_ref())?;
        runner.check_context(prompt.len().saturating_add(self.max_tokens.saturating_sub(1)))?;

        // The last token is computed with the request: its logits choose the first new one.
        let (prefilled, last) = prompt.split_at(prompt.len().saturating_sub(1));
        let request = self.request(&runner, last.to_vec());
        request.sampling.check()?;
        let mut prefix = Prefix::default();
        let prefill = progress::prefill(&runner, &mut prefix, prefilled)?;
        let group = runner.decode_group(&prefix, &[request], Sharing::On)?;
        let timings = Timings::new(load, prefill, group.decode);
        let completion = group.completions.first().context("the request came to nothing")?;
        self.print(completion, text_codec.as_ref(), prompt.len(), timings)
    }

    /// The tokenizer; a model without one still takes tokens and gives tokens.
    fn text_codec(&self, runner: &Runner) -> Result<Option<TextCodec>> {
        let missing = |error: &anyhow::Error| {
            error.downcast_ref::<Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
        };
        match self.model.text_codec(runner) {
            Err(error) if missing(&error) && self.prompt.prompt_file.is_none() => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn request(&self, runner: &Runner, suffix: Vec<u32>) -> Request {
        let eos_tokens = &runner.model().config().eos_tokens;
        Request {
            suffix,
            max_tokens: self.max_tokens,
            sampling: Sampling { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p, seed: self.seed },
            stop_tokens: if self.ignore_eos { vec![] } else { eos_tokens.clone() },
        }
    }

    fn print(
        &self,
        completion: &Completion,
        text_codec: Option<&TextCodec>,
        prompt_tokens: usize,
        timings: Timings,
    ) -> Result<()> {
        let text = text_codec.map(|codec| codec.decode(&completion.tokens)).transpose()?;
        if !self.json {
            let ids = || completion.tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            println!("{}", text.unwrap_or_else(ids));
            return Ok(());
        }
        let report = Report {
            tokens: &completion.tokens,
            text,
            logprobs: &completion.logprobs,
            finish_reason: completion.finish_reason.name(),
            prompt_tokens,
            cached_tokens: 0,
            timings,
        };
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    }
}

impl PromptArgs {
    fn tokens(&self, text_codec: Option<&TextCodec>) -> Result<Vec<u32>> {
        match (&self.prompt_file, text_codec) {
            (Some(path), Some(text_codec)) => Ok(text_codec.encode(&read_text(path)?)?),
            _ => Ok(self.prompt_tokens.clone()),
        }
    }
}

impl Timings {
    fn new(load: Duration, prefill: Pace, decode: Pace) -> Self {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            load_ms: millis(load),
            prefill_ms: millis(prefill.elapsed),
            decode_ms: millis(decode.elapsed),
            prefill_tokens_per_sec: prefill.tokens_per_sec(),
            decode_tokens_per_sec: decode.tokens_per_sec(),
        }
    }
}
