//! What was measured over one trace.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// What was measured over one trace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TraceResult {
    pub(super) trace: String,
    pub(super) rtt_ms: f64,
    pub(super) loss_percent: f64,
    pub(super) engine: EngineResult,
    pub(super) contexts: Vec<ContextResult>,
}

/// What the engine took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EngineResult {
    /// But for attention, which comes on top.
    pub(super) prefill_tokens_per_sec: f64,
    /// Bytes of KV that a simulated decoder gives; none where this machine decoded.
    pub(super) decode_bytes_per_sec: Option<f64>,
}

/// What was measured of one context.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContextResult {
    pub(super) tokens: usize,
    pub(super) ways: Vec<WayResult>,
    /// The best with hindsight, at all quality layers of q3.
    pub(super) best_ms: f64,
    /// The same with the base alone.
    pub(super) best_base_ms: f64,
}

/// What one way came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WayResult {
    pub(super) way: String,
    /// From the request until the engine had all KV.
    pub(super) ttft_ms: f64,
    pub(super) payload_bytes: u64,
    pub(super) computed_tokens: usize,
    /// Mean quality layers of loaded chunks.
    pub(super) qualities: Option<f64>,
    /// Calculated from the costs and the trace, since a transfer would have taken too long to wait for.
    pub(super) is_calculated: bool,
}

impl ContextResult {
    /// What a way came to.
    pub(super) fn way(&self, name: &str) -> Option<&WayResult> {
        self.ways.iter().find(|way| way.way == name)
    }

    /// How much longer the controller took than the best with hindsight, at all quality layers and at the base alone.
    pub(super) fn over_best(&self) -> Option<[f64; 2]> {
        let [all, base] = ["controller", "controller base"].map(|name| self.way(name).map(|way| way.ttft_ms));
        Some([all? / self.best_ms, base? / self.best_base_ms])
    }
}
