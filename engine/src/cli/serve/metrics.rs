//! What Prometheus reads.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The format in which they are given.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics; clones count together.
#[derive(Clone)]
pub(super) struct Metrics {
    registry: Arc<Registry>,
    answers: Family<Answer, Counter>,
    /// The same, together.
    requests: Counter,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    completion_tokens: Counter,
    ttft: Histogram,
    itl: Histogram,
    waiting: Gauge,
    running: Gauge,
    kv_used: Gauge,
}

/// What an answer is counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    endpoint: String,
    status: u16,
}

impl Metrics {
    pub(super) fn new(kv_limit_bytes: usize) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let mut registry = Registry::with_prefix("kvdepot_engine");
        let metrics = Self {
            registry: Arc::default(),
            answers: Family::default(),
            requests: Counter::default(),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            completion_tokens: Counter::default(),
            ttft: seconds(),
            itl: seconds(),
            waiting: Gauge::default(),
            running: Gauge::default(),
            kv_used: Gauge::default(),
        };
        registry.register("requests", "Bodies that were answered", metrics.answers.clone());
        registry.register("prompt_tokens", "Tokens of contexts", metrics.prompt_tokens.clone());
        registry.register("cached_prompt_tokens", "Those whose KV was there", metrics.cached_tokens.clone());
        registry.register("completion_tokens", "Tokens decoded", metrics.completion_tokens.clone());
        let ttft = metrics.ttft.clone();
        registry.register_with_unit("time_to_first_token", "Submitted to first token", Unit::Seconds, ttft);
        let itl = metrics.itl.clone();
        registry.register_with_unit("inter_token_latency", "Token to next token", Unit::Seconds, itl);
        registry.register("waiting_requests", "Choices that have not begun", metrics.waiting.clone());
        registry.register("running_requests", "Choices that have not ended", metrics.running.clone());
        let kv_used = metrics.kv_used.clone();
        registry.register_with_unit("kv_used", "KV pages in use or kept", Unit::Bytes, kv_used);
        let kv_limit: Gauge = Gauge::default();
        kv_limit.set(signed(kv_limit_bytes));
        registry.register_with_unit("kv_limit", "Most that KV pages may take", Unit::Bytes, kv_limit);
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// All of them, as text.
    pub(super) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Bodies that were answered.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    pub(super) fn answer(&self, endpoint: &str, status: u16) {
        self.requests.inc();
        self.answers.get_or_create(&Answer { endpoint: endpoint.to_owned(), status }).inc();
    }

    /// A choice has one more token, so long after the one before it, or after it was submitted.
    pub(super) fn token(&self, is_first: bool, waited: Duration) {
        let latency = if is_first { &self.ttft } else { &self.itl };
        latency.observe(waited.as_secs_f64());
        self.completion_tokens.inc();
    }

    pub(super) fn end(&self, context_tokens: usize, cached_tokens: usize) {
        self.prompt_tokens.inc_by(context_tokens as u64);
        self.cached_tokens.inc_by(cached_tokens as u64);
    }

    pub(super) fn waiting(&self, waiting: usize) {
        self.waiting.set(signed(waiting));
    }

    pub(super) fn step(&self, running: usize, kv_bytes: usize) {
        self.running.set(signed(running));
        self.kv_used.set(signed(kv_bytes));
    }
}

fn signed(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
