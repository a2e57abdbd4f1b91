//! Whether what arrives is what was asked for. The depot is not taken at its word: a wrong hit is impossible.

use kvdepot_codec::{Geometry, KvChunk};
use kvdepot_proto::{ChunkEntry, Manifest, Scope, check_tokens, limits};

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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kvdepot_codec::{Dtype, EncodeOptions, Level, Segment};
    use kvdepot_proto::{ChunkContent, ChunkId, KvSpec, ReceivedSegment, Rope, SegmentEntry};

    use super::*;

    const NUM_TOKENS: usize = 40;

    fn spec() -> KvSpec {
        KvSpec {
            model: "model".to_owned(),
            weights_digest: [1; 32],
            tokenizer_digest: None,
            adapter: String::new(),
            geometry: Geometry::new(1, 1, 64, Dtype::Bf16).unwrap(),
            rope: Rope { kind: "default".to_owned(), theta: 10_000.0, parameters: Vec::new() },
            sliding_window: None,
        }
    }

    fn segments(level: Level) -> Vec<Segment> {
        let chunk = KvChunk::zeroed(spec().geometry, NUM_TOKENS).unwrap();
        let rope = (&spec().rope).try_into().unwrap();
        kvdepot_codec::encode(&chunk, &EncodeOptions::new(level).at(rope, 0)).unwrap()
    }

    /// One chunk of tokens 0..40, encoded at `level`.
    fn stored(level: Level) -> Manifest {
        let entries = segments(level)
            .iter()
            .map(|segment| SegmentEntry { key: segment.key, segment_bytes: segment.bytes.len() as u64 })
            .collect();
        let content = ChunkContent { level, segments: entries };
        let (id, num_tokens) = (ChunkId::new([9; 32]), NUM_TOKENS as u32);
        let chunk = ChunkEntry { id, start_token: 0, num_tokens, content, instance: 1 };
        Manifest { spec: spec(), tokens: (0..NUM_TOKENS as u32).collect(), chunks: vec![chunk] }
    }

    fn received(segment: &Segment) -> ReceivedSegment {
        ReceivedSegment { chunk_idx: 0, key: segment.key, bytes: Bytes::copy_from_slice(&segment.bytes) }
    }

    fn asked(tokens: impl IntoIterator<Item = u32>) -> FetchRequest {
        FetchRequest::tokens(Scope::exact(spec()), tokens.into_iter().collect())
    }

    #[test]
    fn a_stored_prefix_of_the_tokens_is_accepted() {
        assert_eq!(manifest(&asked(0..100), &stored(Level::Q0)), Ok(()));
        assert_eq!(manifest(&asked(0..100), &Manifest { chunks: vec![], tokens: vec![], spec: spec() }), Ok(()));
    }

    #[test]
    fn kv_of_other_tokens_is_refused() {
        for tokens in [1..100, 0..39] {
            let error = manifest(&asked(tokens), &stored(Level::Q0)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible);
        }
    }

    #[test]
    fn kv_of_another_spec_is_refused_with_the_field() {
        let mut other = stored(Level::Q0);
        other.spec.rope.theta = 5e5;
        let error = manifest(&asked(0..100), &other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.to_string().contains("rope.theta"), "{error}");
    }

    #[test]
    fn a_lossy_chunk_is_refused_in_an_exact_scope_only() {
        let mut request = asked(0..100);
        assert_eq!(manifest(&request, &stored(Level::Q2)).unwrap_err().kind(), ErrorKind::Incompatible);
        request.scope = request.scope.map(|scope| Scope { lossy: true, ..scope });
        assert_eq!(manifest(&request, &stored(Level::Q2)), Ok(()));
    }

    #[test]
    fn leading_quality_layers_are_accepted_and_those_of_another_level_are_not() {
        let request = FetchRequest::chunk(ChunkId::new([9; 32]));
        let segments = segments(Level::Q3);
        for qualities in 1..=Level::Q3.qualities(kvdepot_codec::Side::K) {
            let mut leading = stored(Level::Q3);
            leading.chunks[0].content.segments.retain(|segment| segment.key.quality < qualities);
            assert_eq!(manifest(&request, &leading), Ok(()));
            for one in segments.iter().filter(|segment| segment.key.quality < qualities) {
                assert_eq!(leading.verify(&received(one)), Ok(()));
            }
        }
        let [base, refinement] = [0, 1].map(|quality| segments.iter().find(|one| one.key.quality == quality).unwrap());
        let renamed = Segment { key: refinement.key, bytes: base.bytes.clone() };
        assert_eq!(stored(Level::Q3).verify(&received(&renamed)).unwrap_err().kind(), ErrorKind::Incompatible);
    }

    #[test]
    fn another_chunk_than_the_one_named_is_refused() {
        let request = FetchRequest::chunk(ChunkId::new([8; 32]));
        assert_eq!(manifest(&request, &stored(Level::Q0)).unwrap_err().kind(), ErrorKind::Incompatible);
        assert_eq!(manifest(&FetchRequest::chunk(ChunkId::new([9; 32])), &stored(Level::Q0)), Ok(()));
    }

    #[test]
    fn a_chunk_that_would_fill_the_memory_is_refused() {
        let mut huge = stored(Level::Q0);
        huge.spec.geometry = Geometry::new(1024, 1024, 1024, Dtype::F32).unwrap();
        let request = FetchRequest::chunk(ChunkId::new([9; 32]));
        assert_eq!(manifest(&request, &huge).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_segment_is_held_against_manifest_and_checksum() {
        let manifest = stored(Level::Q0);
        let [k, v] = segments(Level::Q0).try_into().unwrap();
        assert_eq!(manifest.verify(&received(&k)), Ok(()));
        let swapped = Segment { key: k.key, bytes: v.bytes };
        assert_eq!(manifest.verify(&received(&swapped)).unwrap_err().kind(), ErrorKind::Incompatible);
        let mut flipped = k.clone();
        *flipped.bytes.last_mut().unwrap() ^= 1;
        assert_eq!(manifest.verify(&received(&flipped)).unwrap_err().kind(), ErrorKind::Corrupt);
        let lossy = segments(Level::Q2).remove(0);
        assert_eq!(manifest.verify(&received(&lossy)).unwrap_err().kind(), ErrorKind::Incompatible);
    }
}
