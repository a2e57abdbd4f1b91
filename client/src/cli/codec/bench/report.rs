//! What was measured, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::{rounds::Subject, work::WorkSet};
use crate::cli::{codec::bits_per_value, text};

/// A share of a core that a run on an idle machine gets.
const IDLE_CORE_SHARE: f64 = 0.9;

#[derive(Serialize)]
pub(in crate::cli) struct Benched {
    pub(super) isa: &'static str,
    pub(super) dtype: &'static str,
    pub(super) num_layers: usize,
    pub(super) num_kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) tokens: usize,
    pub(super) chunk_tokens: usize,
    pub(super) rounds: u32,
    pub(super) working_set_bytes: usize,
    pub(super) baselines_working_set_bytes: usize,
    /// Share of the time that the run had a core to itself: what rates are measured in is the thread's own time.
    pub(super) core_share: f64,
    pub(super) memcpy_gb_per_sec: f64,
    pub(super) levels: Vec<Row>,
    pub(super) baselines: Vec<Row>,
    pub(super) notes: Vec<String>,
}

/// One codec. Rates are of plain KV.
#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    ratio: f64,
    bits_per_value: f64,
    metadata_fraction: Option<f64>,
    encode_gb_per_sec: f64,
    decode_gb_per_sec: f64,
    decode_of_memcpy: f64,
    key_error: f64,
    value_error: f64,
    encode_memory_bytes: usize,
    decode_memory_bytes: usize,
}

impl Row {
    pub(super) fn new(set: &WorkSet, subject: &Subject, memcpy_gb_per_sec: f64) -> Self {
        let (name, measured) = (subject.coder.name(), &subject.measured);
        let num_values = measured.plain_bytes / set.chunks[0].geometry().dtype().bytes();
        let [key_error, value_error] = measured.errors;
        let (encode, decode) = subject.medians();
        let decode_gb_per_sec = set.gb_per_sec(decode);
        Self {
            name,
            ratio: text::ratio(measured.plain_bytes as u64, measured.encoded_bytes as u64),
            bits_per_value: bits_per_value(measured.encoded_bytes as u64, num_values as u64),
            metadata_fraction: measured.metadata_bytes.map(|bytes| bytes as f64 / measured.encoded_bytes as f64),
            encode_gb_per_sec: set.gb_per_sec(encode),
            decode_gb_per_sec,
            decode_of_memcpy: decode_gb_per_sec / memcpy_gb_per_sec,
            key_error,
            value_error,
            encode_memory_bytes: measured.encode_memory_bytes,
            decode_memory_bytes: measured.decode_memory_bytes,
        }
    }

    fn cells(&self) -> [String; 10] {
        [
            self.name.clone(),
            format!("{:.3}", self.ratio),
            format!("{:.3}", self.bits_per_value),
            self.metadata_fraction.map_or_else(|| "-".to_owned(), percent),
            percent(self.key_error),
            percent(self.value_error),
            format!("{:.3}", self.encode_gb_per_sec),
            format!("{:.3}", self.decode_gb_per_sec),
            format!("{:.2}", self.decode_of_memcpy),
            format!(
                "{}, {}",
                text::bytes(self.encode_memory_bytes as u64),
                text::bytes(self.decode_memory_bytes as u64)
            ),
        ]
    }
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

impl fmt::Display for Benched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, num_layers, num_kv_heads, head_dim, tokens, chunk_tokens, isa, rounds, .. } = self;
        write!(f, "{num_layers} layers, {num_kv_heads} kv heads of {head_dim}, {dtype}; ")?;
        writeln!(f, "{tokens} tokens in chunks of {chunk_tokens}")?;
        let [levels, baselines] =
            [self.working_set_bytes, self.baselines_working_set_bytes].map(|bytes| text::bytes(bytes as u64));
        writeln!(f, "GB/s of plain KV on one core ({isa}), medians of {rounds} rounds")?;
        writeln!(f, "going over {levels} (levels, memcpy) and {baselines} (baselines)")?;
        if self.core_share < IDLE_CORE_SHARE {
            let share = 100.0 * self.core_share;
            writeln!(f, "the machine was busy: {share:.0} % of a core was had, in whose time the rates are")?;
        }
        writeln!(f, "memcpy {:.2} GB/s\n", self.memcpy_gb_per_sec)?;
        let columns = [
            "CODEC",
            ">RATIO",
            ">BITS/VALUE",
            ">METADATA",
            ">K ERROR",
            ">V ERROR",
            ">ENCODE",
            ">DECODE",
            ">OF MEMCPY",
            ">MEMORY",
        ];
        let rows = self.levels.iter().chain(&self.baselines).map(Row::cells);
        text::table(&columns, rows).fmt(f)?;
        writeln!(f, "\n\nERROR: root of the squared error, over the root of the squares")?;
        writeln!(f, "METADATA: bytes that do not stand for elements, of all")?;
        writeln!(f, "MEMORY: what encoding and decoding a chunk take beyond it and what it became")?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}
