//! `kvdepot show`.

use std::fmt;

use clap::Args;
use kvdepot_client::{Client, IdPrefix, Inspected, Result};
use kvdepot_codec::Side;
use kvdepot_proto::{ChunkEntry, KvSpec};
use serde::Serialize;

use super::{ls::ContextJson, text};

#[derive(Args)]
pub(super) struct ShowArgs {
    /// Leading digits of a chunk id, at least 4
    id: IdPrefix,
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    context: ContextJson,
    is_leaf: bool,
    fingerprint: String,
    spec: KvSpec,
    chain: Vec<ChunkJson>,
    #[serde(skip)]
    inspected: Inspected,
}

#[derive(Serialize)]
struct ChunkJson {
    id: String,
    start_token: u32,
    num_tokens: u32,
    level: &'static str,
    k_bytes: u64,
    v_bytes: u64,
    stored_bytes: u64,
}

impl ShowArgs {
    pub(super) async fn run(&self, client: &Client) -> Result<Shown> {
        let inspected = client.inspect(&self.id).await?;
        Ok(Shown {
            context: (&inspected.context).into(),
            is_leaf: inspected.is_leaf,
            fingerprint: inspected.fingerprint.to_string(),
            spec: inspected.manifest.spec.clone(),
            chain: inspected.manifest.chunks.iter().map(ChunkJson::from).collect(),
            inspected,
        })
    }
}

impl From<&ChunkEntry> for ChunkJson {
    fn from(chunk: &ChunkEntry) -> Self {
        Self {
            id: chunk.id.to_string(),
            start_token: chunk.start_token,
            num_tokens: chunk.num_tokens,
            level: chunk.content.level.name(),
            k_bytes: side_bytes(chunk, Side::K),
            v_bytes: side_bytes(chunk, Side::V),
            stored_bytes: chunk.content.stored_bytes(),
        }
    }
}

fn side_bytes(chunk: &ChunkEntry, side: Side) -> u64 {
    chunk.content.segments.iter().filter(|segment| segment.key.side == side).map(|segment| segment.segment_bytes).sum()
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inspected { context, manifest, .. } = &self.inspected;
        let kind = if self.is_leaf { "context" } else { "prefix of longer contexts" };
        writeln!(f, "{}  {kind}", context.id)?;
        writeln!(f, "namespace    {}", context.namespace)?;
        writeln!(f, "tokens       {} in {} chunks", context.num_tokens, context.num_chunks)?;
        let (stored, raw) = (context.stored_bytes, context.raw_kv_bytes);
        let ratio = text::ratio(raw, stored);
        writeln!(f, "stored       {} of {} in memory, {ratio:.2}x smaller", text::bytes(stored), text::bytes(raw))?;
        writeln!(f, "put          {} ago, used {} ago", text::age(context.created), text::age(context.last_used))?;
        writeln!(f, "fingerprint  {}", self.fingerprint)?;
        for (name, value) in manifest.spec.fields().iter().filter(|(_, value)| !value.is_empty()) {
            writeln!(f, "  {name:<18} {value}")?;
        }
        let rows = manifest.chunks.iter().map(|chunk| {
            let end_token = chunk.start_token.saturating_add(chunk.num_tokens);
            [
                text::short_id(&chunk.id),
                format!("{}..{end_token}", chunk.start_token),
                chunk.content.level.to_string(),
                text::bytes(side_bytes(chunk, Side::K)),
                text::bytes(side_bytes(chunk, Side::V)),
                text::bytes(chunk.content.stored_bytes()),
            ]
        });
        text::table(&["CHUNK", ">TOKENS", "LEVEL", ">K", ">V", ">STORED"], rows).fmt(f)
    }
}
