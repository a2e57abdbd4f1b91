//! What a batch came to.

use std::fmt;
use std::time::Duration;

use indicatif::HumanBytes;
use kvdepot_engine::BatchReport;
use serde::Serialize;

use super::source::DepotReport;
use crate::cli::engine::millis;
use crate::cli::report::Outcome;

/// The report of `batch`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Report {
    pub(super) requests: usize,
    /// Results that were there before.
    pub(super) resumed: usize,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    /// Requests that were not begun: --resume goes on with them.
    pub(super) left: usize,
    /// Tokens of all contexts.
    pub(super) prefill_tokens_total: usize,
    /// Tokens of prefill that were computed.
    pub(super) prefill_tokens_computed: usize,
    /// Tokens of prefill whose KV came from the depot.
    pub(super) loaded_tokens: usize,
    pub(super) saved_fraction: f64,
    pub(super) decoded_tokens: usize,
    pub(super) peak_kv_bytes: usize,
    pub(super) elapsed_secs: f64,
    pub(super) planning_secs: f64,
    /// Tokens of prefill, those saved too, and of decoding over all of the time.
    pub(super) input_tokens_per_sec: f64,
    pub(super) output_tokens_per_sec: f64,
    pub(super) step_ms: Percentiles,
    /// Time in which nothing could be computed before something came from the depot.
    pub(super) waited_secs: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) depot: Option<DepotReport>,
}

/// Milliseconds that steps took.
#[derive(Debug, Default, Serialize)]
pub(in crate::cli) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// Requests, by what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) requests: usize,
    pub(super) resumed: usize,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
}

impl Report {
    pub(super) fn new(counts: Counts, batch: &BatchReport, decoded_tokens: usize, elapsed: Duration) -> Self {
        let per_sec = |tokens: usize| tokens as f64 / elapsed.as_secs_f64().max(1e-9);
        let total = batch.total_tokens;
        Self {
            requests: counts.requests,
            resumed: counts.resumed,
            succeeded: counts.succeeded,
            failed: counts.failed,
            left: counts.requests - counts.resumed - counts.succeeded - counts.failed,
            prefill_tokens_total: total,
            prefill_tokens_computed: batch.prefilled_tokens,
            loaded_tokens: batch.loaded_tokens,
            saved_fraction: total.saturating_sub(batch.prefilled_tokens) as f64 / total.max(1) as f64,
            decoded_tokens,
            peak_kv_bytes: batch.peak_kv_bytes,
            elapsed_secs: elapsed.as_secs_f64(),
            planning_secs: batch.planning.as_secs_f64(),
            input_tokens_per_sec: per_sec(total),
            output_tokens_per_sec: per_sec(decoded_tokens),
            step_ms: Percentiles::new(batch.steps.clone()),
            waited_secs: batch.waited.as_secs_f64(),
            depot: None,
        }
    }
}

impl Percentiles {
    fn new(mut steps: Vec<Duration>) -> Self {
        steps.sort_unstable();
        let at = |share: f64| steps.get((steps.len() as f64 * share) as usize).or(steps.last());
        let ms = |share: f64| at(share).copied().map_or(0.0, millis);
        Self { p50: ms(0.5), p90: ms(0.9), p99: ms(0.99), max: ms(1.0) }
    }
}

impl Outcome for Report {
    fn failure(&self) -> Option<String> {
        (self.left > 0).then(|| format!("stopped with {} requests to go: --resume goes on with them", self.left))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, succeeded, failed, resumed, left, .. } = self;
        writeln!(
            f,
            "{succeeded} of {requests} requests done, {failed} failed, {resumed} were done before, {left} left"
        )?;
        writeln!(
            f,
            "prefill: {} of {} tokens computed, {:.1} % saved",
            self.prefill_tokens_computed,
            self.prefill_tokens_total,
            1e2 * self.saved_fraction
        )?;
        writeln!(
            f,
            "{:.1} s: {:.0} tokens/s in, {:.0} tokens/s out; planning {:.2} s; at most {:.1} MiB of KV",
            self.elapsed_secs,
            self.input_tokens_per_sec,
            self.output_tokens_per_sec,
            self.planning_secs,
            self.peak_kv_bytes as f64 / f64::from(1 << 20)
        )?;
        if let Some(DepotReport { payload_bytes, failure, kept }) = &self.depot {
            let (came, waited) = (HumanBytes(*payload_bytes), self.waited_secs);
            writeln!(
                f,
                "depot: {} tokens in {came} came, {waited:.2} s waited for; {} prefixes put, {} new",
                self.loaded_tokens,
                kept.prefixes,
                HumanBytes(kept.new_bytes)
            )?;
            failure.iter().try_for_each(|failure| writeln!(f, "not all came from the depot: {failure}"))?;
            kept.failure.iter().try_for_each(|failure| writeln!(f, "not all was put: {failure}"))?;
        }
        let Percentiles { p50, p90, p99, max } = self.step_ms;
        write!(f, "steps: {p50:.1} ms at the median, {p90:.1} at 90 %, {p99:.1} at 99 %, {max:.1} at most")
    }
}
