//! What `kvdepot get --explain` says of each chunk.

use std::fmt;

use kvdepot_codec::Side;
use kvdepot_proto::ChunkEntry;
use serde::Serialize;

use super::text;

/// A chunk that was fetched.
#[derive(Serialize)]
pub(super) struct ExplainedChunk {
    start_token: u32,
    tokens: u32,
    level: String,
    /// Leading quality layers of its keys that were fetched.
    qualities: u8,
    /// Those that its level has.
    stored_qualities: u8,
    payload_bytes: u64,
}

impl ExplainedChunk {
    /// A chunk of which the first `qualities` quality layers were fetched.
    pub(super) fn new(chunk: &ChunkEntry, qualities: u8) -> Self {
        let stored_qualities = chunk.content.level.qualities(Side::K);
        Self {
            start_token: chunk.start_token,
            tokens: chunk.num_tokens,
            level: chunk.content.level.to_string(),
            qualities: qualities.min(stored_qualities),
            stored_qualities,
            payload_bytes: chunk.content.leading(qualities).stored_bytes(),
        }
    }
}

impl fmt::Display for ExplainedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_token, tokens, level, qualities, stored_qualities, payload_bytes } = self;
        let (end, payload) = (start_token + tokens, text::bytes(*payload_bytes));
        write!(f, "tokens {start_token} to {end}: {level}, {qualities} of {stored_qualities} quality layers, {payload}")
    }
}
