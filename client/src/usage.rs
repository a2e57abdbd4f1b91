//! How full a depot is, and where it listens.

use std::time::Duration;

use kvdepot_local::Announced;
use kvdepot_proto::v1;
use serde::Serialize;

use crate::{Result, control::Control};

/// How full a depot is, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Version of the daemon.
    pub version: String,
    /// Time since the daemon started.
    #[serde(rename = "uptime_ms", serialize_with = "as_millis")]
    pub uptime: Duration,
    /// Chunks stored.
    pub chunks: u64,
    /// Contexts stored: leaves of the chunk tree.
    pub contexts: u64,
    /// Bytes of all segments stored.
    pub stored_bytes: u64,
    /// Most bytes that may be stored; `None` for no limit.
    pub quota_bytes: Option<u64>,
    /// Tokens per chunk.
    pub chunk_tokens: usize,
    /// Address of the QUIC data plane, as the daemon bound it.
    pub quic_address: String,
    /// Certificate that the data plane shows, in DER.
    #[serde(skip)]
    pub quic_certificate: Vec<u8>,
    /// Match calls since the start.
    pub matches: u64,
    /// Tokens that those asked about.
    pub asked_tokens: u64,
    /// Tokens that were found.
    pub matched_tokens: u64,
    /// Chunks evicted since the start.
    pub evicted_chunks: u64,
    /// Chunks whose bytes were found corrupt since the start.
    pub quarantined_chunks: u64,
    /// Segments read from the store for receivers since the start; those that receivers shared count once.
    pub segment_reads: u64,
    /// Bytes of segments that are held in memory for further receivers.
    pub cached_bytes: u64,
    /// Where the daemon listens for receivers on this host.
    #[serde(skip)]
    pub(crate) local_plane: Option<Announced>,
}

impl Usage {
    /// Share of the tokens asked about that was stored; `None` before the first match.
    pub fn hit_rate(&self) -> Option<f64> {
        (self.asked_tokens != 0).then(|| self.matched_tokens as f64 / self.asked_tokens as f64)
    }

    pub(crate) async fn ask(control: &Control) -> Result<Self> {
        let mut admin = control.admin();
        Ok(control.answer(admin.usage(v1::UsageRequest {})).await?.into())
    }
}

impl From<v1::UsageResponse> for Usage {
    fn from(message: v1::UsageResponse) -> Self {
        Self {
            version: message.version,
            uptime: Duration::from_millis(message.uptime_ms),
            chunks: message.chunks,
            contexts: message.contexts,
            stored_bytes: message.stored_bytes,
            quota_bytes: (message.quota_bytes != 0).then_some(message.quota_bytes),
            chunk_tokens: message.chunk_tokens as usize,
            quic_address: message.quic_address,
            quic_certificate: message.quic_certificate,
            matches: message.matches,
            asked_tokens: message.asked_tokens,
            matched_tokens: message.matched_tokens,
            evicted_chunks: message.evicted_chunks,
            quarantined_chunks: message.quarantined_chunks,
            segment_reads: message.segment_reads,
            cached_bytes: message.cached_bytes,
            local_plane: message.local_plane.and_then(Announced::of_this_host),
        }
    }
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_millis())
}
