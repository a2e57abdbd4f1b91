//! What the measurement came to: a row for each scheme, and one for the exact cache.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::EvalArgs;
use super::calibration::Calibration;
use super::measure::{Measured, Tally};
use super::scheme::{Kind, Scheme};
use crate::cli::engine::Engine;
use crate::cli::report::Outcome;

/// What the measurement came to.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Evaluation {
    model: String,
    text: String,
    dtype: &'static str,
    windows: usize,
    pub(super) context_tokens: usize,
    continue_tokens: usize,
    chunk_tokens: usize,
    /// Tokens of all continuations together.
    scored_tokens: u64,
    /// Digits of all answers together.
    asked_digits: u64,
    /// What KVTC was calibrated on, where it was measured.
    calibration: Option<Calibration>,
    exact: Exact,
    pub(super) rows: Vec<Row>,
}

/// Over the exact cache.
#[derive(Debug, Serialize)]
struct Exact {
    /// KV of the windows' contexts in memory.
    raw_kv_bytes: u64,
    perplexity: f64,
    retrieval_accuracy: f64,
}

/// Over the cache that a scheme gives back.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) family: String,
    pub(super) kind: Kind,
    pub(super) lossless: bool,
    /// All bytes of the windows' contexts over all values of them.
    pub(super) bits_per_value: f64,
    /// How much smaller than 16 bits per value.
    pub(super) ratio: f64,
    pub(super) bytes: u64,
    pub(super) perplexity: f64,
    /// Mean KL divergence of the next token's distribution from that over the exact cache, in nats.
    pub(super) kl: f64,
    /// Its standard error, from how windows differ; none for one window.
    pub(super) kl_standard_error: Option<f64>,
    /// Part of the scored tokens at which both caches hold the same token the most probable.
    pub(super) top1_agreement: f64,
    /// Part of the digits that were looked up right.
    pub(super) retrieval_accuracy: f64,
}

impl Evaluation {
    pub(super) fn new(
        args: &EvalArgs,
        engine: &Engine,
        calibration: Option<Calibration>,
        schemes: &[Box<dyn Scheme>],
        measured: &Measured,
    ) -> Self {
        let exact = &measured.exact;
        let dtype = engine.runner.geometry().dtype();
        let num_values = exact.bytes / dtype.bytes() as u64;
        let rows = schemes.iter().zip(&measured.schemes).map(|(scheme, tally)| Row::new(&**scheme, tally, num_values));
        Self {
            model: engine.dir().display().to_string(),
            text: args.text.display().to_string(),
            dtype: dtype.name(),
            windows: args.windows,
            context_tokens: args.context_tokens,
            continue_tokens: args.continue_tokens,
            chunk_tokens: args.chunk_tokens,
            scored_tokens: exact.text.tokens,
            asked_digits: exact.retrieval.asked,
            calibration,
            exact: Exact {
                raw_kv_bytes: exact.bytes,
                perplexity: exact.text.perplexity(),
                retrieval_accuracy: exact.retrieval.accuracy(),
            },
            rows: rows.collect(),
        }
    }
}

impl Row {
    fn new(scheme: &dyn Scheme, tally: &Tally, num_values: u64) -> Self {
        let bits_per_value = tally.bytes as f64 * 8.0 / num_values.max(1) as f64;
        Self {
            name: scheme.name(),
            family: scheme.family(),
            kind: scheme.kind(),
            lossless: scheme.is_lossless(),
            bits_per_value,
            ratio: 16.0 / bits_per_value,
            bytes: tally.bytes,
            perplexity: tally.text.perplexity(),
            kl: tally.text.kl(),
            kl_standard_error: tally.text.kl_standard_error(),
            top1_agreement: tally.text.top1_agreement(),
            retrieval_accuracy: tally.retrieval.accuracy(),
        }
    }
}

impl Row {
    /// KL divergence and its standard error.
    fn divergence(&self) -> String {
        match self.kl_standard_error {
            _ if self.kl == 0.0 => "0".to_owned(),
            Some(error) => format!("{:.5} ± {error:.5}", self.kl),
            None => format!("{:.5}", self.kl),
        }
    }
}

impl Outcome for Evaluation {
    fn failure(&self) -> Option<String> {
        let broken = self.rows.iter().find(|row| row.lossless && row.kl != 0.0)?;
        Some(format!("{} is lossless, but its KL divergence is {}", broken.name, broken.kl))
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} windows of {} + {} tokens in chunks of {}, {}: {} tokens scored, {} digits asked for",
            self.windows,
            self.context_tokens,
            self.continue_tokens,
            self.chunk_tokens,
            self.dtype,
            HumanCount(self.scored_tokens),
            HumanCount(self.asked_digits),
        )?;
        if let Some(calibration) = &self.calibration {
            writeln!(f, "{calibration}")?;
        }
        write!(f, "{}", self.table())
    }
}

impl Evaluation {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["", "bits per value", "ratio", "bytes", "perplexity", "KL", "top-1", "retrieval"]);
        let Exact { raw_kv_bytes, perplexity, retrieval_accuracy } = self.exact;
        let raw = HumanBytes(raw_kv_bytes).to_string();
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        let cells = ["exact".into(), String::new(), String::new(), raw, format!("{perplexity:.3}")];
        table.add_row(cells.into_iter().chain([String::new(), String::new(), percent(retrieval_accuracy)]));
        for row in &self.rows {
            table.add_row([
                row.name.clone(),
                format!("{:.2}", row.bits_per_value),
                format!("{:.2}", row.ratio),
                HumanBytes(row.bytes).to_string(),
                format!("{:.3}", row.perplexity),
                row.divergence(),
                percent(row.top1_agreement),
                percent(row.retrieval_accuracy),
            ]);
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }
}
