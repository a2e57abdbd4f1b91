//! An engine that spends the time that a given one would take, and holds nothing.

use std::time::Duration;

use bytes::Bytes;
use kvdepot_client::{CpuDecoder, Decoder, Engine};
use kvdepot_codec::Geometry;
use kvdepot_proto::stream::EngineCosts;

/// FLOP for a token and each token that it attends to, over FLOP for a token's weights: 4 for each of 4,096 channels of 32
/// layers, over 2 for each of 8.03e9 weights, of Llama 3.1 8B.
const ATTENTION_SHARE: f64 = 4.0 * 4096.0 * 32.0 / (2.0 * 8.03e9);

/// Spends the time that computing takes.
pub(super) struct TimedEngine {
    costs: EngineCosts,
    held_tokens: u64,
}

impl TimedEngine {
    pub(super) fn new(costs: EngineCosts) -> Self {
        Self { costs, held_tokens: 0 }
    }
}

/// Costs of an engine of Llama 3.1 8B that prefills so many tokens per second, but for attention, which comes on top.
pub(super) fn costs(prefill_tokens_per_sec: f64, decode_bytes_per_sec: f64) -> EngineCosts {
    let secs_per_token = prefill_tokens_per_sec.recip();
    EngineCosts { secs_per_token, secs_per_attended_token: secs_per_token * ATTENTION_SHARE, decode_bytes_per_sec }
}

impl Engine for TimedEngine {
    type Kv = ();
    type Error = anyhow::Error;

    fn costs(&self) -> Option<EngineCosts> {
        Some(self.costs)
    }

    fn compute(&mut self, end: usize) -> anyhow::Result<()> {
        let secs = self.costs.compute_secs(self.held_tokens, end as u64 - self.held_tokens);
        std::thread::sleep(Duration::from_secs_f64(secs));
        self.held_tokens = end as u64;
        Ok(())
    }

    fn append(&mut self, num_tokens: usize, _kv: ()) -> anyhow::Result<()> {
        self.held_tokens += num_tokens as u64;
        Ok(())
    }

    fn truncate(&mut self, num_tokens: usize) -> anyhow::Result<()> {
        self.held_tokens = num_tokens as u64;
        Ok(())
    }
}

/// Decodes here, or spends the time that decoding would take.
#[derive(Debug, Clone, Copy)]
pub(super) enum BenchDecoder {
    Here,
    BytesPerSec(f64),
}

impl Decoder for BenchDecoder {
    type Kv = ();

    fn decode(&self, geometry: Geometry, num_tokens: usize, segments: &[Bytes]) -> kvdepot_codec::Result<()> {
        match self {
            Self::Here => CpuDecoder.decode(geometry, num_tokens, segments).map(drop),
            Self::BytesPerSec(rate) => {
                std::thread::sleep(Duration::from_secs_f64(geometry.kv_bytes(num_tokens) as f64 / rate));
                Ok(())
            }
        }
    }
}
