//! `kvdepot codec bench`: size, error and speed of every level beside memcpy and other codecs, on one core.

mod clock;
mod coder;
mod kvtc;
mod memory;
mod report;
mod rounds;
mod work;

use std::path::PathBuf;

use clap::Args;
use kvdepot_baselines::uncalibrated;
use kvdepot_client::{Error, Result, files};
use kvdepot_codec::{Isa, Level, dump::KvDump};

use super::{chunk_tokens, in_file};
use crate::cli::progress;
use clock::{core_share, median};
use coder::{Coder, LevelCoder};
use report::{Benched, Row};
use rounds::{Subject, run_rounds};
use work::WorkSet;

/// Bytes of a MiB.
const MIB: usize = 1 << 20;

#[derive(Args)]
pub(in crate::cli) struct BenchArgs {
    /// Levels to measure, separated by commas; all when left out
    #[arg(long, value_delimiter = ',', value_name = "LEVELS")]
    levels: Vec<Level>,
    /// Tokens per chunk
    #[arg(long, default_value = "256", value_name = "N", value_parser = chunk_tokens)]
    chunk_tokens: usize,
    /// Repeat the dump's chunks until they take this many MiB, so that no cache holds them
    #[arg(long, default_value = "256", value_name = "MIB")]
    repeat_to: usize,
    /// As --repeat-to, for the baselines: some are slow
    #[arg(long, default_value = "16", value_name = "MIB")]
    repeat_baselines_to: usize,
    /// Rounds, of which the median counts; all codecs take turns within each
    #[arg(long, default_value = "5", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure the levels on every instruction set that this processor has, not only on the best
    #[arg(long)]
    every_isa: bool,
    /// Measure the levels only
    #[arg(long)]
    no_baselines: bool,
    /// KV dump that KVTC is calibrated on; the first half of IN when left out
    #[arg(long, value_name = "DUMP.safetensors")]
    calibrate_on: Option<PathBuf>,
    /// KV dump
    #[arg(value_name = "IN.safetensors")]
    dump: PathBuf,
}

impl BenchArgs {
    pub(super) fn run(&self) -> Result<Benched> {
        let bytes = files::read(&self.dump)?;
        let dump = in_file(&self.dump, KvDump::parse(&bytes))?;
        let mut notes = Vec::new();
        let mut levels = WorkSet::cut(&dump, self.chunk_tokens, self.repeat_to * MIB)?;
        let mut others = WorkSet::cut(&dump, self.chunk_tokens, self.repeat_baselines_to * MIB)?;
        let bar = progress::steps("prepare", 0);
        let mut level_subjects = self.level_subjects(&dump, &mut levels)?;
        let mut other_subjects = if self.no_baselines { Vec::new() } else { baseline_subjects(&mut others)? };
        bar.set_message("calibrate kvtc");
        let mut context = if self.no_baselines { None } else { self.kvtc(&dump, &mut notes)? };

        let mut sets = vec![(&mut levels, &mut level_subjects[..]), (&mut others, &mut other_subjects[..])];
        sets.extend(context.as_mut().map(|(set, subjects)| (set, &mut subjects[..])));
        let memcpy = run_rounds(self.rounds, &mut sets, &bar)?;
        bar.finish_and_clear();

        let memcpy_gb_per_sec = levels.gb_per_sec(median(&memcpy));
        let contexts = context.iter().flat_map(|(_, subjects)| subjects);
        let subjects = level_subjects.iter().chain(&other_subjects).chain(contexts);
        let core_share = core_share(memcpy.iter().chain(subjects.flat_map(Subject::spent)));
        let rows = |set: &WorkSet, subjects: &[Subject]| -> Vec<Row> {
            subjects.iter().map(|subject| Row::new(set, subject, memcpy_gb_per_sec)).collect()
        };
        let mut baselines = rows(&others, &other_subjects);
        baselines.extend(context.iter().flat_map(|(set, subjects)| rows(set, subjects)));
        Ok(Benched {
            isa: Isa::best().name(),
            dtype: dump.geometry().dtype().name(),
            num_layers: dump.geometry().num_layers(),
            num_kv_heads: dump.geometry().num_kv_heads(),
            head_dim: dump.geometry().head_dim(),
            tokens: dump.num_tokens(),
            chunk_tokens: self.chunk_tokens,
            rounds: self.rounds,
            working_set_bytes: levels.plain_bytes(),
            baselines_working_set_bytes: others.plain_bytes(),
            core_share,
            memcpy_gb_per_sec,
            levels: rows(&levels, &level_subjects),
            baselines,
            notes,
        })
    }

    fn level_subjects(&self, dump: &KvDump<'_>, set: &mut WorkSet) -> Result<Vec<Subject>> {
        let levels = if self.levels.is_empty() { &Level::ALL[..] } else { &self.levels };
        let isas = if self.every_isa { Isa::available() } else { vec![Isa::best()] };
        let mut subjects = Vec::new();
        for (level, isa) in levels.iter().flat_map(|level| isas.iter().map(move |isa| (*level, *isa))) {
            for quality in (0..=LevelCoder::best_quality(level)).rev() {
                let (origin, names_isa) = (dump.origin().clone(), self.every_isa);
                let coder = LevelCoder { level, isa, quality, origin, names_isa };
                subjects.push(Subject::prepare(Coder::Level(coder), set)?);
            }
        }
        Ok(subjects)
    }

    /// KVTC codes contexts whole, on tokens that it was not calibrated on. A note says on which, or why there is none.
    fn kvtc(&self, dump: &KvDump<'_>, notes: &mut Vec<String>) -> Result<Option<(WorkSet, Vec<Subject>)>> {
        let calibration = match &self.calibrate_on {
            Some(path) => {
                let bytes = files::read(path)?;
                let calibration = in_file(path, KvDump::parse(&bytes))?;
                if calibration.geometry() != dump.geometry() {
                    return Err(Error::invalid(format!("{} has another geometry", path.display())));
                }
                kvtc::calibrate(&calibration, 0..calibration.num_tokens(), &path.display().to_string())?
            }
            None => kvtc::calibrate(dump, 0..dump.num_tokens() / 2, "the dump")?,
        };
        let start = if self.calibrate_on.is_some() { 0 } else { dump.num_tokens() / 2 };
        let Some((coders, note)) = calibration.filter(|_| dump.num_tokens() - start > kvtc::MIN_CONTEXT_TOKENS) else {
            notes.push("kvtc is left out: too few tokens to calibrate on and to code".to_owned());
            return Ok(None);
        };
        let mut set = WorkSet::context(dump, start, self.repeat_baselines_to * MIB)?;
        notes.push(format!("{note}; coded: {} tokens from {start} on as one context", set.chunks[0].num_tokens()));
        let subjects = coders.into_iter().map(|coder| Subject::prepare(Coder::Baseline(Box::new(coder)), &mut set));
        let subjects = subjects.collect::<Result<_>>()?;
        Ok(Some((set, subjects)))
    }
}

fn baseline_subjects(set: &mut WorkSet) -> Result<Vec<Subject>> {
    uncalibrated().into_iter().map(|baseline| Subject::prepare(Coder::Baseline(baseline), set)).collect()
}
