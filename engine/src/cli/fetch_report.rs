//! What is said of a fetch from both ends, or layer by layer.

use std::fmt;

use indicatif::HumanBytes;
use kvdepot_client::{BothEndsReport, ChunkFate, ChunkReport, LayersReport, Step};
use serde::{Deserialize, Serialize};

use super::engine::millis;

/// The fetch report, as it is printed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FetchReport {
    /// Each chunk of the stored prefix: computed or loaded, and why.
    pub(super) chunks: Vec<ChunkReport>,
    /// What was decided, and when.
    pub(super) steps: Vec<Step>,
    pub(super) payload_bytes: u64,
    /// As estimated last, from what arrived.
    pub(super) bandwidth_bits_per_sec: Option<f64>,
    /// Bytes of KV.
    pub(super) decoded_bytes_per_sec: Option<f64>,
    /// From the request until the stored prefix was in pages.
    pub(super) prefix_ms: f64,
    /// Why the transfer ended early.
    pub(super) failure: Option<String>,
}

impl From<BothEndsReport> for FetchReport {
    fn from(report: BothEndsReport) -> Self {
        Self {
            chunks: report.chunks,
            steps: report.steps,
            payload_bytes: report.payload_bytes,
            bandwidth_bits_per_sec: report.bytes_per_sec.map(|bytes| 8.0 * bytes),
            decoded_bytes_per_sec: report.decoded_bytes_per_sec,
            prefix_ms: millis(report.elapsed),
            failure: report.failure,
        }
    }
}

impl fmt::Display for FetchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { ms, chunk, what } in &self.steps {
            writeln!(f, "{ms:7.1} ms, chunk {chunk}: {what}")?;
        }
        let mut first = 0;
        for alike in self.chunks.chunk_by(|a, b| a.fate == b.fate) {
            let last = first + alike.len() - 1;
            writeln!(f, "chunks {first} to {last}: {}; {}", fate(alike[0].fate), alike[0].why)?;
            first = last + 1;
        }
        let estimate = |what: Option<f64>| what.map_or("unknown".to_owned(), |rate| format!("{:.2}", rate / 1e9));
        let (bandwidth, decoded) = (estimate(self.bandwidth_bits_per_sec), estimate(self.decoded_bytes_per_sec));
        let payload = HumanBytes(self.payload_bytes);
        write!(
            f,
            "{payload} came, at {bandwidth} Gbit/s last; decoded at {decoded} GB/s; complete after {:.0} ms",
            self.prefix_ms
        )?;
        self.failure.iter().try_for_each(|failure| write!(f, "\nthe transfer ended early: {failure}"))
    }
}

/// How a prefix came layer by layer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LayersTimes {
    /// For which the engine waited for a layer.
    pub(super) waited_ms: f64,
    /// For which layers were decoded.
    pub(super) decoded_ms: f64,
}

impl From<LayersReport> for LayersTimes {
    fn from(report: LayersReport) -> Self {
        Self { waited_ms: millis(report.waited), decoded_ms: millis(report.decoded) }
    }
}

impl fmt::Display for LayersTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waited_ms, decoded_ms } = self;
        write!(f, "layer by layer: {waited_ms:.1} ms waited for, {decoded_ms:.1} ms decoded")
    }
}

fn fate(fate: ChunkFate) -> String {
    match fate {
        ChunkFate::Computed => "computed".to_owned(),
        ChunkFate::Loaded { qualities, stored } => format!("loaded with {qualities} of {stored} quality layers"),
        ChunkFate::Missing => "missing".to_owned(),
    }
}
