//! What the measurements came to.

use std::fmt;

use comfy_table::{Table, presets};
use indicatif::HumanBytes;
use kvdepot_engine::{AttentionWork, GroupReport, Machine, Model, Pace};
use serde::Serialize;

use super::super::super::report::Outcome;
use super::bounds::Workload;

/// Best turns.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) prefill_tokens_per_sec: f64,
    pub(super) single: Option<GroupReport>,
    pub(super) shared: Option<GroupReport>,
    pub(super) unshared: Option<GroupReport>,
}

/// Decoding of a group, and the bounds it is held against. Rates of decoding leave out the steps that computed suffixes.
#[derive(Debug, Serialize)]
pub(in crate::cli::bench) struct DecodeReport {
    precision: String,
    threads: usize,
    prefix_tokens: usize,
    /// "drawn" or "computed".
    prefix_kv: &'static str,
    requests: usize,
    suffix_tokens: usize,
    tokens: usize,
    decode_tokens_per_sec_shared: f64,
    decode_tokens_per_sec_unshared: f64,
    /// One request over the same prefix.
    decode_tokens_per_sec_single: f64,
    /// Of the prefix's first tokens, at most 512.
    prefill_tokens_per_sec: f64,
    /// Attention of the shared run.
    attention_gflops: f64,
    attention_gflops_unshared: f64,
    /// Part of the shared run's time that is attention.
    attention_fraction: f64,
    peak_gflops: f64,
    read_gb_per_sec: f64,
    memcpy_gb_per_sec: f64,
    kv_bytes_read_per_step: f64,
    kv_bytes_bound: f64,
    kv_bytes_read_per_step_unshared: f64,
    kv_bytes_bound_unshared: f64,
}

impl DecodeReport {
    pub(super) fn new(model: &Model, workload: &Workload, prefill: bool, machine: &Machine, of: &Measured) -> Self {
        let config = model.config();
        let [single, shared, unshared] = [&of.single, &of.shared, &of.unshared].map(|of| Steps::new(of.as_ref()));
        let token_bytes = config.geometry(model.precision()).map_or(0, |geometry| geometry.kv_bytes(1)) as f64;
        let flops = workload.attention_flops(config);
        Self {
            precision: model.precision().to_string(),
            threads: rayon::current_num_threads(),
            prefix_tokens: workload.prefix,
            prefix_kv: if prefill { "computed" } else { "drawn" },
            requests: workload.requests,
            suffix_tokens: workload.suffix,
            tokens: workload.tokens,
            decode_tokens_per_sec_shared: shared.decode.tokens_per_sec(),
            decode_tokens_per_sec_unshared: unshared.decode.tokens_per_sec(),
            decode_tokens_per_sec_single: single.decode.tokens_per_sec(),
            prefill_tokens_per_sec: of.prefill_tokens_per_sec,
            attention_gflops: shared.attention_rate(flops) / 1e9,
            attention_gflops_unshared: unshared.attention_rate(flops) / 1e9,
            attention_fraction: shared.attention_fraction(),
            peak_gflops: machine.peak_flops_per_sec / 1e9,
            read_gb_per_sec: machine.read_bytes_per_sec / 1e9,
            memcpy_gb_per_sec: machine.copy_bytes_per_sec / 1e9,
            kv_bytes_read_per_step: shared.kv_bytes(),
            kv_bytes_bound: workload.tokens_to_read(true) * token_bytes,
            kv_bytes_read_per_step_unshared: unshared.kv_bytes(),
            kv_bytes_bound_unshared: workload.tokens_to_read(false) * token_bytes,
        }
    }
}

/// Steps that only decoded.
#[derive(Debug, Default)]
struct Steps {
    decode: Pace,
    attention: AttentionWork,
}

impl Steps {
    fn new(report: Option<&GroupReport>) -> Self {
        report.map_or_else(Self::default, |of| Self { decode: of.decode, attention: of.decode_attention })
    }

    /// Operations per second of attention that takes `flops` a step.
    fn attention_rate(&self, flops: f64) -> f64 {
        flops * self.decode.steps as f64 / self.attention.elapsed.as_secs_f64().max(1e-9)
    }

    fn attention_fraction(&self) -> f64 {
        self.attention.elapsed.as_secs_f64() / self.decode.elapsed.as_secs_f64().max(1e-9)
    }

    fn kv_bytes(&self) -> f64 {
        self.attention.kv_bytes as f64 / self.decode.steps.max(1) as f64
    }
}

impl Outcome for DecodeReport {}

impl fmt::Display for DecodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix_tokens, prefix_kv, requests, suffix_tokens, tokens, precision, threads, .. } = self;
        writeln!(
            f,
            "{requests} requests over a prefix of {prefix_tokens} tokens ({prefix_kv} KV), {suffix_tokens} of"
        )?;
        writeln!(f, "their own, {tokens} decoded; {precision}, {threads} threads")?;
        let [read, bound] = [self.kv_bytes_read_per_step, self.kv_bytes_bound].map(bytes);
        let [read_off, bound_off] = [self.kv_bytes_read_per_step_unshared, self.kv_bytes_bound_unshared].map(bytes);
        let of_peak = |gflops| format!("{gflops:.1} GFLOP/s, {:.0} % of peak", 100.0 * gflops / self.peak_gflops);
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["", "shared", "unshared"]);
        table.add_row([
            "decode".to_owned(),
            format!("{:.1} tokens/s", self.decode_tokens_per_sec_shared),
            format!("{:.1} tokens/s", self.decode_tokens_per_sec_unshared),
        ]);
        let [shared, unshared] = [self.attention_gflops, self.attention_gflops_unshared].map(of_peak);
        table.add_row(["attention".to_owned(), shared, unshared]);
        table.add_row(["KV read per step".to_owned(), read, read_off]);
        table.add_row(["  at least".to_owned(), bound, bound_off]);
        writeln!(f, "{table}")?;
        writeln!(f, "attention takes {:.0} % of a shared step", 100.0 * self.attention_fraction)?;
        let (single, prefill) = (self.decode_tokens_per_sec_single, self.prefill_tokens_per_sec);
        writeln!(f, "one request: decode {single:.1} tokens/s; prefill {prefill:.1} tokens/s")?;
        let (peak, read, copy) = (self.peak_gflops, self.read_gb_per_sec, self.memcpy_gb_per_sec);
        write!(f, "machine: {peak:.1} GFLOP/s, reads {read:.1} GB/s, copies {copy:.1} GB/s")
    }
}

fn bytes(count: f64) -> String {
    HumanBytes(count as u64).to_string()
}
