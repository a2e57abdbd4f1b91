//! Whether what arrives is what was asked for. The depot is not taken at its word: a wrong hit is impossible.

use kvdepot_codec::{Geometry, KvChunk};
use kvdepot_proto::{ChunkEntry, Manifest, ReceivedSegment, Scope, check_tokens, limits};

use super::{FetchRequest, FetchTarget};
use crate::{Error, ErrorKind, Result};

/// Refuses requests that no depot can answer.
pub(super) fn request(request: &FetchRequest) -> Result<()> {
    match (&request.what, &request.scope) {
        (FetchTarget::Tokens(_), None) => Err(Error::invalid("a fetch of tokens needs a scope to look them up in")),
        (FetchTarget::Tokens(tokens), Some(_)) => check_tokens(tokens),
        (FetchTarget::Chunk(_), _) => Ok(()),
    }
}

/// Holds a manifest against the request and the limits.
pub(super) fn manifest(request: &FetchRequest, manifest: &Manifest) -> Result<()> {
    check_tokens(&manifest.tokens)?;
    manifest.chunks.iter().try_for_each(|chunk| chunk_size(&manifest.spec.geometry, chunk))?;
    if let Some(scope) = &request.scope {
        against_scope(scope, manifest)?;
    }
    match &request.what {
        FetchTarget::Tokens(tokens) => against_tokens(tokens, manifest),
        FetchTarget::Chunk(id) if manifest.chunks.last().is_some_and(|last| last.id != *id) => {
            Err(wrong(format!("the depot sent another context than the one of chunk {id}")))
        }
        FetchTarget::Chunk(_) => Ok(()),
    }
}

/// Holds a segment against its manifest, and verifies its checksum.
pub(crate) fn segment(manifest: &Manifest, segment: &ReceivedSegment) -> Result<()> {
    let (idx, key) = (segment.chunk_idx, segment.key);
    let unknown = || Error::invalid(format!("segment of chunk {idx} of {}", manifest.chunks.len()));
    let chunk = manifest.chunks.get(idx as usize).ok_or_else(unknown)?;
    let verified = kvdepot_codec::verify(&segment.bytes).map_err(Error::from);
    let header = verified.map_err(|error| error.context(format!("segment {key:?} of chunk {}", chunk.id)))?;
    let found = (header.key(), *header.geometry(), header.num_tokens(), header.level());
    let expected = (key, manifest.spec.geometry, chunk.num_tokens as usize, chunk.content.level);
    if found != expected {
        return Err(wrong(format!("segment of chunk {} is {found:?}, the manifest says {expected:?}", chunk.id)));
    }
    Ok(())
}

fn chunk_size(geometry: &Geometry, chunk: &ChunkEntry) -> Result<()> {
    let num_tokens = chunk.num_tokens as usize;
    if num_tokens > KvChunk::MAX_TOKENS || geometry.kv_bytes(num_tokens) as u64 > limits::MAX_CHUNK_KV_BYTES {
        return Err(Error::invalid(format!(
            "chunk {} of {num_tokens} tokens of {geometry:?} is larger than any this client takes: {} tokens, {} bytes",
            chunk.id,
            KvChunk::MAX_TOKENS,
            limits::MAX_CHUNK_KV_BYTES
        )));
    }
    Ok(())
}

fn against_scope(scope: &Scope, manifest: &Manifest) -> Result<()> {
    if let Some(difference) = scope.spec.difference(&manifest.spec) {
        return Err(wrong(format!("the depot's KV has another spec: {difference}")));
    }
    match manifest.chunks.iter().find(|chunk| !scope.accepts(chunk.content.level)) {
        Some(chunk) => Err(wrong(format!(
            "chunk {} is {}, and the scope takes lossless levels only",
            chunk.id, chunk.content.level
        ))),
        None => Ok(()),
    }
}

fn against_tokens(tokens: &[u32], manifest: &Manifest) -> Result<()> {
    let start = manifest.chunks.first().map_or(0, |chunk| chunk.start_token as usize);
    if tokens.get(start..manifest.end_token()).is_none_or(|asked| asked != manifest.tokens)
        && !manifest.chunks.is_empty()
    {
        return Err(wrong("the depot sent KV of other tokens than asked for".to_owned()));
    }
    Ok(())
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Incompatible, message)
}
