//! The fetch report: what each chunk came to be, and why.

use std::time::Duration;

use kvdepot_proto::stream::{ChunkLoad, Reason};
use serde::{Deserialize, Serialize};

use super::Engine;
use super::board::{Board, Contents};
use super::engine_end::Met;

/// How a prefix came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct BothEndsReport {
    /// The chunks of the manifest.
    pub chunks: Vec<ChunkReport>,
    /// What was decided, and when.
    pub steps: Vec<Step>,
    /// Bytes of segments that came.
    pub payload_bytes: u64,
    /// Bandwidth as estimated last.
    pub bytes_per_sec: Option<f64>,
    /// Bytes of KV that were decoded per second; none if nothing was decoded.
    pub decoded_bytes_per_sec: Option<f64>,
    /// From the call until the engine held the KV of the whole prefix.
    pub elapsed: Duration,
    /// Why the transfer ended early.
    pub failure: Option<String>,
}

/// What a chunk came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkReport {
    /// Tokens in it.
    pub tokens: u32,
    /// Computed or loaded.
    #[serde(flatten)]
    pub fate: ChunkFate,
    /// Why, in words.
    pub why: String,
}

/// Computed or loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "lowercase")]
pub enum ChunkFate {
    /// The engine computed it.
    Computed,
    /// It came from the depot, and was decoded.
    Loaded {
        /// With so many leading quality layers.
        qualities: u8,
        /// Of so many that are stored.
        stored: u8,
    },
    /// Neither: the transfer broke, and the engine cannot compute.
    Missing,
}

/// What was decided, when, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds since the request.
    pub ms: f64,
    /// The chunk at the front.
    pub chunk: usize,
    /// In words.
    pub what: String,
}

impl BothEndsReport {
    /// Tokens that came from the depot.
    pub fn loaded_tokens(&self) -> usize {
        let loaded = self.chunks.iter().filter(|chunk| matches!(chunk.fate, ChunkFate::Loaded { .. }));
        loaded.map(|chunk| chunk.tokens as usize).sum()
    }
}

/// Hands what was decoded to the engine, behind what it computed, and reports.
pub(super) fn finish<E: Engine>(engine: &mut E, board: &Board<E::Kv>, met: Met) -> Result<BothEndsReport, E::Error> {
    let mut contents = board.lock();
    let mut chunks: Vec<ChunkReport> = computed(&contents.loads, &met).collect();
    while let Some(load) = contents.loads.get(chunks.len()).cloned() {
        let Some(kv) = contents.take_kv(chunks.len()) else { break };
        engine.append(load.num_tokens as usize, kv)?;
        chunks.push(loaded(&load, &contents, board.goal.qualities, met.end));
    }
    let left = contents.loads.iter().skip(chunks.len());
    let missing: Vec<ChunkReport> = left.map(|load| missing(load, contents.failure.as_deref())).collect();
    chunks.extend(missing);
    let elapsed = board.started.elapsed();
    Ok(BothEndsReport {
        chunks,
        steps: met.steps,
        payload_bytes: contents.payload_bytes,
        bytes_per_sec: contents.arrivals.bytes_per_sec(elapsed),
        decoded_bytes_per_sec: contents.decoded.bytes_per_sec(),
        elapsed,
        failure: contents.failure.take(),
    })
}

fn computed<'a>(loads: &'a [ChunkLoad], met: &'a Met) -> impl Iterator<Item = ChunkReport> + 'a {
    loads.iter().zip(&met.computed).map(|(load, why)| ChunkReport {
        tokens: load.num_tokens,
        fate: ChunkFate::Computed,
        why: why.clone(),
    })
}

fn loaded<K>(load: &ChunkLoad, contents: &Contents<K>, wanted: u8, end: Option<Reason>) -> ChunkReport {
    let why = match (&contents.failure, end) {
        _ if load.is_ready(wanted) => "came before the engine reached it".to_owned(),
        (Some(failure), _) => failure.clone(),
        (None, Some(reason)) => words(reason),
        (None, None) => String::new(),
    };
    let fate = ChunkFate::Loaded { qualities: load.decoded, stored: load.qualities() };
    ChunkReport { tokens: load.num_tokens, fate, why }
}

fn missing(load: &ChunkLoad, failure: Option<&str>) -> ChunkReport {
    let why = failure.unwrap_or("it did not come").to_owned();
    ChunkReport { tokens: load.num_tokens, fate: ChunkFate::Missing, why }
}

/// A reason, in words.
pub(super) fn words(reason: Reason) -> String {
    match reason {
        Reason::ComputeIsSooner { compute_secs, load_secs } if load_secs.is_finite() => {
            format!("computing takes {:.0} ms, loading what is missing {:.0} ms", 1e3 * compute_secs, 1e3 * load_secs)
        }
        Reason::ComputeIsSooner { compute_secs, .. } => {
            format!("computing takes {:.0} ms, and nothing comes", 1e3 * compute_secs)
        }
        Reason::LoadIsSooner { .. } => "waiting: loading is sooner".to_owned(),
        Reason::Computing => "computing".to_owned(),
        Reason::TimeToRefine { .. } => "the ends have met, and there is time to refine".to_owned(),
        Reason::TimeToDecode { .. } => "there is time to decode what has come, and none to load more".to_owned(),
        Reason::Deadline => "the deadline came".to_owned(),
        Reason::Complete => "the ends have met".to_owned(),
    }
}
