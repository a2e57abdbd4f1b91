//! What a transfer consists of.

use std::collections::{BTreeMap, HashSet};

use kvdepot_codec::{Level, SegmentKey, Side};

use crate::{ChunkId, Error, ErrorKind, KvSpec, Result, Scope, limits, v1};

/// A segment and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Name of the segment inside its chunk.
    pub key: SegmentKey,
    /// Size, at most [`limits::MAX_SEGMENT_BYTES`].
    pub segment_bytes: u64,
}

/// How a chunk is encoded: at least one segment, none twice, and of each layer group and side the quality layers from the
/// base on without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkContent {
    /// Level of all segments.
    pub level: Level,
    /// The segments, in the order in which they are sent.
    pub segments: Vec<SegmentEntry>,
}

impl ChunkContent {
    /// Bytes of all segments.
    pub fn stored_bytes(&self) -> u64 {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.segment_bytes))
    }

    /// The same with the leading `qualities` quality layers only.
    pub fn leading(&self, qualities: u8) -> Self {
        let kept = self.segments.iter().filter(|segment| segment.key.quality < qualities);
        Self { level: self.level, segments: kept.copied().collect() }
    }

    /// Checks that each layer group and side that is there has all quality layers of the level, as a put must: what a
    /// depot does not get at once, it never gets.
    ///
    /// # Errors
    /// `Invalid`, with the layer group and the numbers.
    pub fn check_all_qualities(&self) -> Result<()> {
        let level = self.level;
        match self.qualities()?.into_iter().find(|((_, side), count)| *count != level.qualities(*side)) {
            Some(((layer_group, side), count)) => Err(Error::invalid(format!(
                "{side:?} of layer group {layer_group} has {count} of {} quality layers: all of level {level} are put together",
                level.qualities(side)
            ))),
            None => Ok(()),
        }
    }

    /// Quality layers of each layer group and side.
    fn qualities(&self) -> Result<BTreeMap<(u16, Side), u8>> {
        let mut keys: Vec<SegmentKey> = self.segments.iter().map(|segment| segment.key).collect();
        keys.sort_unstable();
        let mut counts = BTreeMap::new();
        for SegmentKey { quality, layer_group, side } in keys {
            let count: &mut u8 = counts.entry((layer_group, side)).or_default();
            let limit = self.level.qualities(side);
            if quality >= limit {
                return Err(Error::invalid(format!(
                    "quality layer {quality} of {side:?} of layer group {layer_group}: level {} has {limit}",
                    self.level
                )));
            }
            if quality != *count {
                return Err(Error::invalid(format!(
                    "quality layer {quality} of {side:?} of layer group {layer_group} without layer {count} below it"
                )));
            }
            *count = count.saturating_add(1);
        }
        Ok(counts)
    }
}

/// A chunk, by identity and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Name of the chunk.
    pub id: ChunkId,
    /// Position of its first token.
    pub start_token: u32,
    /// Tokens in it.
    pub num_tokens: u32,
    /// Its level and segments.
    pub content: ChunkContent,
    /// Number of the put that stored it: at one depot the same instance is the same bytes.
    pub instance: u64,
}

/// What a transfer consists of: consecutive chunks, in chain order.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What the KV is.
    pub spec: KvSpec,
    /// Tokens of the chunks, from the start of the first one.
    pub tokens: Vec<u32>,
    /// The chunks; may be empty.
    pub chunks: Vec<ChunkEntry>,
}

/// What a client announces before it puts: a context and the content of each of its chunks, from position 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Announce {
    /// Where the context goes.
    pub scope: Scope,
    /// All tokens of the context.
    pub tokens: Vec<u32>,
    /// Content of each chunk that the tokens are cut into.
    pub contents: Vec<ChunkContent>,
}

/// Refuses token sequences that are longer than any context may be.
///
/// # Errors
/// `Invalid`, with both numbers.
pub fn check_tokens(tokens: &[u32]) -> Result<()> {
    let limit = limits::MAX_CONTEXT_TOKENS;
    if tokens.len() > limit {
        return Err(Error::invalid(format!("{} tokens, at most {limit}", tokens.len())));
    }
    Ok(())
}

/// Turns the key of a segment in a message into the codec's.
///
/// # Errors
/// `Invalid` when a field is out of range.
pub fn segment_key(message: Option<v1::SegmentKey>) -> Result<SegmentKey> {
    let message = message.ok_or_else(|| Error::invalid("segment without a key"))?;
    let side = match v1::Side::try_from(message.side) {
        Ok(v1::Side::K) => Side::K,
        Ok(v1::Side::V) => Side::V,
        Err(_) => return Err(Error::invalid(format!("segment with unknown side {}", message.side))),
    };
    let out_of_range = |_| Error::invalid(format!("segment key {message:?} is out of range"));
    let quality = message.quality.try_into().map_err(out_of_range)?;
    let layer_group = message.layer_group.try_into().map_err(out_of_range)?;
    Ok(SegmentKey { quality, layer_group, side })
}

impl From<SegmentKey> for v1::SegmentKey {
    fn from(key: SegmentKey) -> Self {
        let side = match key.side {
            Side::K => v1::Side::K,
            Side::V => v1::Side::V,
        };
        Self { quality: key.quality.into(), layer_group: key.layer_group.into(), side: side.into() }
    }
}

impl TryFrom<v1::ChunkContent> for ChunkContent {
    type Error = Error;

    fn try_from(message: v1::ChunkContent) -> Result<Self> {
        let level = u8::try_from(message.level).ok().and_then(Level::from_code).ok_or_else(|| {
            let known = Level::ALL.map(Level::name).join(", ");
            Error::new(
                ErrorKind::Incompatible,
                format!("level q{} is unknown here: this build has {known}", message.level),
            )
        })?;
        let count = message.segments.len();
        if count == 0 || count > limits::MAX_CHUNK_SEGMENTS {
            return Err(Error::invalid(format!(
                "{count} segments in a chunk, expected 1..={}",
                limits::MAX_CHUNK_SEGMENTS
            )));
        }
        let segments = message.segments.into_iter().map(SegmentEntry::try_from).collect::<Result<Vec<_>>>()?;
        let mut seen = HashSet::with_capacity(count);
        if let Some(twice) = segments.iter().find(|segment| !seen.insert(segment.key)) {
            return Err(Error::invalid(format!("segment {:?} listed twice", twice.key)));
        }
        let content = Self { level, segments };
        content.qualities()?;
        Ok(content)
    }
}

impl TryFrom<v1::SegmentEntry> for SegmentEntry {
    type Error = Error;

    fn try_from(message: v1::SegmentEntry) -> Result<Self> {
        let (found, limit) = (message.segment_bytes, limits::MAX_SEGMENT_BYTES);
        if found == 0 || found > limit {
            return Err(Error::invalid(format!("segment of {found} bytes, expected 1..={limit}")));
        }
        Ok(Self { key: segment_key(message.key)?, segment_bytes: found })
    }
}

impl From<&ChunkContent> for v1::ChunkContent {
    fn from(content: &ChunkContent) -> Self {
        let entry = |segment: &SegmentEntry| v1::SegmentEntry {
            key: Some(segment.key.into()),
            segment_bytes: segment.segment_bytes,
        };
        Self { level: (content.level as u8).into(), segments: content.segments.iter().map(entry).collect() }
    }
}

impl TryFrom<v1::ChunkEntry> for ChunkEntry {
    type Error = Error;

    fn try_from(message: v1::ChunkEntry) -> Result<Self> {
        if message.num_tokens == 0 {
            return Err(Error::invalid("chunk without tokens"));
        }
        let content = message.content.ok_or_else(|| Error::invalid("chunk without content"))?;
        Ok(Self {
            id: ChunkId::from_slice(&message.id)?,
            start_token: message.start_token,
            num_tokens: message.num_tokens,
            content: content.try_into()?,
            instance: message.instance,
        })
    }
}

impl From<&ChunkEntry> for v1::ChunkEntry {
    fn from(chunk: &ChunkEntry) -> Self {
        Self {
            id: chunk.id.into(),
            start_token: chunk.start_token,
            num_tokens: chunk.num_tokens,
            content: Some((&chunk.content).into()),
            instance: chunk.instance,
        }
    }
}

impl Manifest {
    /// The contents of the chunks.
    pub fn contents(&self) -> Vec<&ChunkContent> {
        self.chunks.iter().map(|chunk| &chunk.content).collect()
    }

    /// Position after the last token of the last chunk, 0 for no chunks.
    pub fn end_token(&self) -> usize {
        self.chunks.last().map_or(0, |last| (last.start_token as usize).saturating_add(last.num_tokens as usize))
    }

    fn check_consecutive(&self) -> Result<()> {
        let mut next = self.chunks.first().map_or(0, |chunk| u64::from(chunk.start_token));
        let start = next;
        for chunk in &self.chunks {
            if u64::from(chunk.start_token) != next {
                return Err(Error::invalid(format!("chunk at token {} where {next} was due", chunk.start_token)));
            }
            next = next.saturating_add(chunk.num_tokens.into());
        }
        let (covered, listed) = (next.saturating_sub(start), self.tokens.len());
        if covered != listed as u64 {
            return Err(Error::invalid(format!("manifest of {covered} tokens lists {listed}")));
        }
        Ok(())
    }
}

impl TryFrom<v1::Manifest> for Manifest {
    type Error = Error;

    fn try_from(message: v1::Manifest) -> Result<Self> {
        check_tokens(&message.tokens)?;
        check_count(message.chunks.len())?;
        let spec = message.spec.ok_or_else(|| Error::invalid("manifest without a spec"))?.try_into()?;
        let chunks = message.chunks.into_iter().map(ChunkEntry::try_from).collect::<Result<_>>()?;
        let manifest = Self { spec, tokens: message.tokens, chunks };
        manifest.check_consecutive()?;
        Ok(manifest)
    }
}

impl From<&Manifest> for v1::Manifest {
    fn from(manifest: &Manifest) -> Self {
        Self {
            spec: Some((&manifest.spec).into()),
            tokens: manifest.tokens.clone(),
            chunks: manifest.chunks.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::PutAnnounce> for Announce {
    type Error = Error;

    fn try_from(message: v1::PutAnnounce) -> Result<Self> {
        check_tokens(&message.tokens)?;
        check_count(message.contents.len())?;
        let scope: Scope = message.scope.ok_or_else(|| Error::invalid("put without a scope"))?.try_into()?;
        let contents = message.contents.into_iter().map(ChunkContent::try_from).collect::<Result<Vec<_>>>()?;
        if let Some(lossy) = contents.iter().find(|content| !scope.accepts(content.level)) {
            let (level, namespace) = (lossy.level, &scope.namespace);
            return Err(Error::invalid(format!(
                "level {level} is lossy and the scope in namespace {namespace:?} is exact: set `lossy` in the scope, or use q0"
            )));
        }
        for (chunk_idx, content) in contents.iter().enumerate() {
            content.check_all_qualities().map_err(|error| error.context(format!("chunk {chunk_idx}")))?;
        }
        Ok(Self { scope, tokens: message.tokens, contents })
    }
}

fn check_count(chunks: usize) -> Result<()> {
    if chunks > limits::MAX_CONTEXT_CHUNKS {
        return Err(Error::invalid(format!("{chunks} chunks, at most {}", limits::MAX_CONTEXT_CHUNKS)));
    }
    Ok(())
}
