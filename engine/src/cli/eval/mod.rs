//! `kvdepot-engine eval`: what is left of the model's quality when its context KV was encoded and decoded again.
//!
//! Owns the measurement: which contexts ([`passage`]), how they are coded ([`scheme`]), what the model makes of them
//! ([`measure`], [`score`]), and how that is told ([`report`], [`plot`]). Equal arguments give equal numbers.

mod baselines;
mod calibration;
mod coded;
mod labels;
mod measure;
mod passage;
mod plot;
mod registers;
mod report;
mod scheme;
mod score;
mod windows;

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use kvdepot_codec::{KvChunk, Level};

use self::calibration::{Calibration, Limits};
use self::passage::{Passage, Shape};
use self::report::Evaluation;
use self::windows::Windows;
use super::engine::{Engine, EngineArgs};
use super::progress;

#[derive(Debug, clap::Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Text that the model was not trained on: plain, or JSON lines with `text` in a file named .jsonl
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Levels to measure, as q0,q2 [default: all]
    #[arg(long, value_name = "LEVELS", value_delimiter = ',')]
    levels: Vec<Level>,
    /// Tokens of each context, whose KV is encoded
    #[arg(long, value_name = "N", default_value_t = 768, value_parser = at_least_one())]
    context_tokens: usize,
    /// Tokens after each context that are scored
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one())]
    continue_tokens: usize,
    /// Windows to take from the text; as many contexts are made up for the retrieval task
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one())]
    windows: usize,
    /// Tokens of each chunk
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one().range(..=KvChunk::MAX_TOKENS as u64))]
    chunk_tokens: usize,
    /// Measure other codecs of KV too: LMCache's, zstd on its symbols, 8-bit integers, KVTC
    #[arg(long)]
    baselines: bool,
    /// Other text that KVTC is calibrated on, as --text [default: what lies between the windows]
    #[arg(long, value_name = "FILE", requires = "baselines")]
    calibrate_on: Option<PathBuf>,
    /// Draw KL divergence over bits per value
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

impl EvalArgs {
    pub(super) fn run(&self) -> anyhow::Result<Evaluation> {
        let engine = self.engine.load()?;
        let windows = Windows::cut(engine.text()?, &self.text, self.shape(), self.windows)?;
        let passages = self.passages(&engine, &windows)?;
        let mut schemes = coded::levels(&engine.runner, &self.levels);
        let calibration = self.calibration(&engine, &windows)?;
        if let Some(calibration) = &calibration {
            schemes.extend(baselines::calibrated(&engine.runner, calibration)?);
        }
        let bar = progress::passes("eval", passages.len() * (1 + schemes.len()));
        let measured = measure::measure(&engine.runner, &passages, &schemes, self.chunk_tokens, || bar.inc(1));
        bar.finish_and_clear();
        let evaluation = Evaluation::new(self, &engine, calibration, &schemes, &measured?);
        if let Some(path) = &self.plot {
            plot::write(path, &evaluation)?;
        }
        Ok(evaluation)
    }

    fn shape(&self) -> Shape {
        Shape { context_tokens: self.context_tokens, continue_tokens: self.continue_tokens }
    }

    /// Windows of the text, then register contexts.
    fn passages(&self, engine: &Engine, windows: &Windows) -> anyhow::Result<Vec<Passage>> {
        let mut passages: Vec<_> = windows.passages().collect();
        for seed in 0..self.windows as u64 {
            passages.push(registers::passage(engine.text()?, self.shape(), seed)?);
        }
        Ok(passages)
    }

    /// What the baselines are calibrated on; none where they are not asked for.
    fn calibration(&self, engine: &Engine, windows: &Windows) -> anyhow::Result<Option<Calibration>> {
        if !self.baselines {
            return Ok(None);
        }
        let limits = Limits::new(&engine.runner.geometry(), self.context_tokens)?;
        let calibration = match &self.calibrate_on {
            Some(path) => Calibration::on(engine.text()?, path, &limits)?,
            None => Calibration::between(windows, &self.text, &limits)?,
        };
        Ok(Some(calibration))
    }
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}
