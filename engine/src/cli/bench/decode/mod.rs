//! `kvdepot-engine bench decode`.

mod bounds;
mod measure;
mod prefix;
mod report;

use std::path::PathBuf;

use clap::Args;
use kvdepot_client::Error;
use kvdepot_engine::{Model, ModelConfig, Runner, Settings};
use tempfile::TempDir;

use super::model::{self, ShapeArg};
use bounds::Workload;
use report::DecodeReport;

/// Decodes requests over a shared prefix, with and without sharing.
///
/// The suffixes are computed first and do not count. Without sharing, each request reads its whole context by itself. Speed does
/// not depend on values: weights of a shape are random, and so is the KV of the prefix unless --prefill computes it.
#[derive(Debug, Args)]
pub(in crate::cli) struct DecodeArgs {
    #[command(flatten)]
    subject: Subject,
    /// Tokens of the shared prefix
    #[arg(long, value_name = "N", default_value_t = 4096)]
    prefix: usize,
    /// Requests that share it
    #[arg(long, value_name = "N", default_value_t = 32)]
    requests: usize,
    /// Tokens of context that each request has for itself
    #[arg(long, value_name = "N", default_value_t = 64)]
    suffix: usize,
    /// Tokens that each request decodes
    #[arg(long, value_name = "N", default_value_t = 32)]
    tokens: usize,
    /// Compute the prefix's KV instead of drawing it
    #[arg(long)]
    prefill: bool,
    /// Turns of each measurement, one after the other; the best counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    turns: u8,
}

/// The model to measure.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// A model of this shape, with random weights
    #[arg(long, value_enum)]
    shape: Option<ShapeArg>,
    /// Hugging Face directory of a model
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

/// A directory to load a model from; a drawn one is deleted with this.
enum Weights {
    Given(PathBuf),
    Drawn(TempDir),
}

impl DecodeArgs {
    pub(super) fn run(&self) -> anyhow::Result<DecodeReport> {
        let workload = self.workload()?;
        let weights = self.subject.weights()?;
        workload.check(&ModelConfig::open(weights.dir())?)?;
        eprintln!("loading the model");
        let model = Model::load(weights.dir(), None)?;
        drop(weights);
        let kv_limit_bytes = workload.pool_bytes(model.config(), model.precision())?;
        let runner = Runner::new(model, Settings { kv_limit_bytes, ..Settings::default() });
        measure::run(&runner, &workload, self.prefill, self.turns)
    }

    fn workload(&self) -> anyhow::Result<Workload> {
        let &Self { prefix, requests, suffix, tokens, .. } = self;
        if prefix == 0 || requests == 0 || suffix == 0 || tokens < 2 {
            let named = format!("--prefix {prefix} --requests {requests} --suffix {suffix} --tokens {tokens}");
            return Err(Error::invalid(format!("{named}: at least 1, and 2 tokens, must be measured")).into());
        }
        Ok(Workload { prefix, requests, suffix, tokens })
    }
}

impl Subject {
    fn weights(&self) -> anyhow::Result<Weights> {
        let Some(shape) = self.shape.map(ShapeArg::shape) else {
            return Ok(Weights::Given(self.model.clone().unwrap_or_default()));
        };
        bounds::check_memory("the weights", shape.weight_bytes())?;
        eprintln!("drawing {} weights", shape.num_parameters());
        let dir = tempfile::tempdir()?;
        model::write(shape, dir.path())?;
        Ok(Weights::Drawn(dir))
    }
}

impl Weights {
    fn dir(&self) -> &std::path::Path {
        match self {
            Self::Given(dir) => dir,
            Self::Drawn(dir) => dir.path(),
        }
    }
}
