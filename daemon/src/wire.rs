//! Messages to and from what the depot speaks. With the handlers, the only place of generated types.

use std::time::Duration;

use kvdepot_proto::stream::Share;
use kvdepot_proto::{ChunkId, Error, Result, Scope, check_tokens, v1};

use crate::depot::{
    ChunkStat, Committed, ContextPage, ContextSummary, Deleted, Extent, FetchTarget, IdPrefix, Inspection, StoredPrefix,
};
use crate::index::LeafPosition;

/// Most contexts on a page.
const MAX_PAGE: usize = 1000;
/// Contexts on a page when the caller does not say.
const DEFAULT_PAGE: usize = 100;

/// What a fetch asks for.
pub(crate) struct FetchAsked {
    pub(crate) target: FetchTarget,
    /// Leading chunks that it leaves out.
    pub(crate) skip_chunks: usize,
    pub(crate) share: Share,
}

impl TryFrom<v1::FetchRequest> for FetchAsked {
    type Error = Error;

    fn try_from(request: v1::FetchRequest) -> Result<Self> {
        let share = Share::try_from(&request)?;
        let skip_chunks = request.skip_chunks as usize;
        Ok(Self { target: fetch_target(request)?, skip_chunks, share })
    }
}

fn fetch_target(request: v1::FetchRequest) -> Result<FetchTarget> {
    let scope = request.scope.map(Scope::try_from).transpose()?;
    let target = match (request.chunk_id.as_slice(), request.tokens) {
        ([], tokens) => {
            check_tokens(&tokens)?;
            FetchTarget::Prefix(scope.ok_or_else(|| Error::invalid("fetch by tokens without a scope"))?, tokens)
        }
        (id, tokens) if tokens.is_empty() => FetchTarget::Chunk(ChunkId::from_slice(id)?, scope),
        (_, tokens) => {
            let count = tokens.len();
            return Err(Error::invalid(format!("fetch by a chunk id and by {count} tokens: give one of them")));
        }
    };
    Ok(target)
}

/// Where and what to match.
pub(crate) fn match_request(request: v1::MatchRequest) -> Result<(Scope, Vec<u32>, Duration)> {
    check_tokens(&request.tokens)?;
    let scope = request.scope.ok_or_else(|| Error::invalid("match without a scope"))?.try_into()?;
    Ok((scope, request.tokens, Duration::from_millis(request.lease_ms.into())))
}

pub(crate) fn match_response(prefix: &StoredPrefix, chunk_tokens: u32) -> v1::MatchResponse {
    v1::MatchResponse {
        matched_tokens: u32::try_from(prefix.num_tokens()).unwrap_or(u32::MAX),
        chunks: prefix.entries().map(|entry| (&entry).into()).collect(),
        chunk_tokens,
        miss_reason: prefix.miss_reason.clone(),
        lease_ms: 0,
    }
}

pub(crate) fn chunk_ids(ids: &[Vec<u8>]) -> Result<Vec<ChunkId>> {
    ids.iter().map(|id| ChunkId::from_slice(id)).collect()
}

pub(crate) fn stat_response(ids: &[ChunkId], stats: &[Option<ChunkStat>]) -> v1::StatResponse {
    let chunk = |(id, stat): (&ChunkId, &Option<ChunkStat>)| v1::ChunkStat {
        id: (*id).into(),
        stored: stat.is_some(),
        stored_bytes: stat.map_or(0, |stat| stat.stored_bytes),
        num_tokens: stat.map_or(0, |stat| stat.num_tokens),
    };
    v1::StatResponse { chunks: ids.iter().zip(stats).map(chunk).collect() }
}

/// What a number of the enumeration means.
pub(crate) fn extent(code: i32) -> Result<Extent> {
    match v1::DeleteExtent::try_from(code) {
        Ok(v1::DeleteExtent::Context) => Ok(Extent::Context),
        Ok(v1::DeleteExtent::Subtree) => Ok(Extent::Subtree),
        Err(_) => Err(Error::invalid(format!("unknown extent {code} of a deletion"))),
    }
}

impl From<Deleted> for v1::DeleteResponse {
    fn from(deleted: Deleted) -> Self {
        Self { deleted_chunks: deleted.chunks, deleted_bytes: deleted.bytes }
    }
}

impl From<Committed> for v1::PutAck {
    fn from(committed: Committed) -> Self {
        Self {
            chunk_ids: committed.chunk_ids.into_iter().map(Into::into).collect(),
            new_chunks: committed.new_chunks,
            new_bytes: committed.new_bytes,
        }
    }
}

/// Where a page begins, and how many contexts it has at most.
pub(crate) fn list_request(request: &v1::ListRequest) -> Result<(Option<LeafPosition>, usize)> {
    let limit = match request.page_size {
        0 => DEFAULT_PAGE,
        asked => (asked as usize).min(MAX_PAGE),
    };
    let after = match request.page_token.split_first_chunk() {
        None if request.page_token.is_empty() => None,
        None => return Err(Error::invalid(format!("page token of {} bytes", request.page_token.len()))),
        Some((used, id)) => Some((u64::from_be_bytes(*used), ChunkId::from_slice(id)?)),
    };
    Ok((after, limit))
}

impl From<ContextPage> for v1::ListResponse {
    fn from(page: ContextPage) -> Self {
        let token = |(used, id): LeafPosition| [used.to_be_bytes().as_slice(), id.as_bytes()].concat();
        Self {
            contexts: page.contexts.into_iter().map(Into::into).collect(),
            next_page_token: page.next.map(token).unwrap_or_default(),
        }
    }
}

impl From<ContextSummary> for v1::ContextSummary {
    fn from(context: ContextSummary) -> Self {
        Self {
            chunk_id: context.chunk_id.into(),
            model: context.model,
            namespace: context.namespace,
            num_tokens: context.num_tokens,
            num_chunks: context.num_chunks,
            stored_bytes: context.stored_bytes,
            raw_kv_bytes: context.raw_kv_bytes,
            level: (context.level as u8).into(),
            created_unix_ms: context.created,
            last_used_unix_ms: context.last_used,
        }
    }
}

/// The ids that begin with whole bytes and perhaps four bits more.
pub(crate) fn id_prefix(request: &v1::InspectRequest) -> Result<IdPrefix> {
    const ID_BYTES: usize = 32;
    let (prefix, len) = (&request.id_prefix, request.id_prefix.len());
    if !(2..=ID_BYTES).contains(&len) || (len == ID_BYTES && request.id_nibble.is_some()) {
        return Err(Error::invalid(format!("id prefix of {len} bytes, expected 2..={ID_BYTES}")));
    }
    let nibble = request.id_nibble.map(|nibble| match u8::try_from(nibble) {
        Ok(nibble @ 0..16) => Ok(nibble << 4),
        _ => Err(Error::invalid(format!("id nibble {nibble}, expected 0..16"))),
    });
    let nibble = nibble.transpose()?;
    let bound = |fill: u8| {
        let next = nibble.map(|high| high | (fill & 0x0f));
        let bytes: Vec<u8> = prefix.iter().copied().chain(next).chain(std::iter::repeat(fill)).take(ID_BYTES).collect();
        ChunkId::from_slice(&bytes)
    };
    Ok(IdPrefix { first: bound(0)?, last: bound(0xff)? })
}

impl From<Inspection> for v1::InspectResponse {
    fn from(inspection: Inspection) -> Self {
        Self {
            context: Some(inspection.context.into()),
            fingerprint: inspection.fingerprint.into(),
            manifest: Some((&inspection.manifest).into()),
            is_leaf: inspection.is_leaf,
        }
    }
}
