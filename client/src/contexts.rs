//! Stored contexts: listed, looked at, removed.

use std::time::{Duration, SystemTime};

use kvdepot_codec::Level;
use kvdepot_proto::{ChunkId, Fingerprint, Manifest, v1};

use crate::{Client, Error, ErrorKind, IdPrefix, Result, control::Control};

/// A stored context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextSummary {
    /// Id of its last chunk.
    pub id: ChunkId,
    /// Name of the model.
    pub model: String,
    /// Name of the namespace.
    pub namespace: String,
    /// Tokens from position 0.
    pub num_tokens: usize,
    /// Chunks from position 0.
    pub num_chunks: usize,
    /// Bytes of all its chunks, those shared with other contexts included.
    pub stored_bytes: u64,
    /// Bytes of the same KV in memory.
    pub raw_kv_bytes: u64,
    /// Level of its last chunk.
    pub level: Level,
    /// When it was put.
    pub created: SystemTime,
    /// When it was put or fetched last.
    pub last_used: SystemTime,
}

/// A chunk with the chain that leads to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The chunk and its ancestors as a context.
    pub context: ContextSummary,
    /// Digest of the spec.
    pub fingerprint: Fingerprint,
    /// The chain from position 0, with spec and tokens.
    pub manifest: Manifest,
    /// Whether no stored chunk continues it.
    pub is_leaf: bool,
}

/// Whether one chunk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkStat {
    /// The chunk asked for.
    pub id: ChunkId,
    /// Its bytes and tokens, `None` when it is not stored.
    pub stored: Option<(u64, usize)>,
}

/// What to remove, seen from a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The chunk, which must be a leaf, and its ancestors that no other context shares.
    Context,
    /// The chunk and every chunk that continues it.
    Subtree,
}

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Deleted {
    /// Chunks.
    pub deleted_chunks: u64,
    /// Bytes of their segments.
    pub deleted_bytes: u64,
}

/// The stored contexts, page by page.
pub struct ContextPages {
    control: Control,
    next: Option<Vec<u8>>,
}

impl Client {
    /// Lists the stored contexts, least recently used first.
    pub fn contexts(&self) -> ContextPages {
        ContextPages { control: self.control.clone(), next: Some(Vec::new()) }
    }

    /// Shows the one chunk whose id starts with `prefix`, and the chain that leads to it.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Invalid` when there are several.
    pub async fn inspect(&self, prefix: &IdPrefix) -> Result<Inspected> {
        let mut admin = self.control.admin();
        let answer = self.control.answer(admin.inspect(v1::InspectRequest::from(prefix))).await;
        answer.map_err(|error| error.context(format_args!("chunk {prefix}")))?.try_into()
    }

    /// Tells which of the chunks are stored, in the order asked.
    ///
    /// # Errors
    /// Those of every call: `Unavailable`, and the depot's own refusals.
    pub async fn stat(&self, ids: &[ChunkId]) -> Result<Vec<ChunkStat>> {
        let mut depot = self.control.depot();
        let request = v1::StatRequest { chunk_ids: ids.iter().map(|id| (*id).into()).collect() };
        let response = self.control.answer(depot.stat(request)).await?;
        response.chunks.into_iter().map(ChunkStat::try_from).collect()
    }

    /// Removes contexts. What is not stored counts as zero chunks.
    ///
    /// # Errors
    /// `Invalid` when a chunk is not a leaf and `extent` is [`Extent::Context`].
    pub async fn delete(&self, ids: &[ChunkId], extent: Extent) -> Result<Deleted> {
        let extent = match extent {
            Extent::Context => v1::DeleteExtent::Context,
            Extent::Subtree => v1::DeleteExtent::Subtree,
        };
        let chunk_ids = ids.iter().map(|id| (*id).into()).collect();
        let mut depot = self.control.depot();
        let deleted = self.control.answer(depot.delete(v1::DeleteRequest { chunk_ids, extent: extent.into() })).await?;
        Ok(Deleted { deleted_chunks: deleted.deleted_chunks, deleted_bytes: deleted.deleted_bytes })
    }
}

impl ContextPages {
    /// The next page; `None` after the last one.
    ///
    /// # Errors
    /// Those of every call: `Unavailable`, and the depot's own refusals.
    pub async fn next(&mut self) -> Result<Option<Vec<ContextSummary>>> {
        let Some(page_token) = self.next.take() else { return Ok(None) };
        let mut admin = self.control.admin();
        let page = self.control.answer(admin.list(v1::ListRequest { page_size: 0, page_token })).await?;
        self.next = Some(page.next_page_token).filter(|token| !token.is_empty());
        page.contexts.into_iter().map(ContextSummary::try_from).collect::<Result<_>>().map(Some)
    }
}

impl TryFrom<v1::ContextSummary> for ContextSummary {
    type Error = Error;

    fn try_from(message: v1::ContextSummary) -> Result<Self> {
        let level = u8::try_from(message.level).ok().and_then(Level::from_code);
        let unknown = || Error::new(ErrorKind::Incompatible, format!("level q{} is unknown here", message.level));
        Ok(Self {
            id: ChunkId::from_slice(&message.chunk_id)?,
            level: level.ok_or_else(unknown)?,
            model: message.model,
            namespace: message.namespace,
            num_tokens: message.num_tokens as usize,
            num_chunks: message.num_chunks as usize,
            stored_bytes: message.stored_bytes,
            raw_kv_bytes: message.raw_kv_bytes,
            created: unix_time(message.created_unix_ms),
            last_used: unix_time(message.last_used_unix_ms),
        })
    }
}

impl TryFrom<v1::InspectResponse> for Inspected {
    type Error = Error;

    fn try_from(message: v1::InspectResponse) -> Result<Self> {
        let absent = |what| Error::new(ErrorKind::Internal, format!("the depot's answer lacks the {what}"));
        Ok(Self {
            context: message.context.ok_or_else(|| absent("context"))?.try_into()?,
            fingerprint: Fingerprint::from_slice(&message.fingerprint)?,
            manifest: message.manifest.ok_or_else(|| absent("manifest"))?.try_into()?,
            is_leaf: message.is_leaf,
        })
    }
}

impl TryFrom<v1::ChunkStat> for ChunkStat {
    type Error = Error;

    fn try_from(message: v1::ChunkStat) -> Result<Self> {
        let stored = message.stored.then_some((message.stored_bytes, message.num_tokens as usize));
        Ok(Self { id: ChunkId::from_slice(&message.id)?, stored })
    }
}

fn unix_time(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(SystemTime::UNIX_EPOCH)
}
