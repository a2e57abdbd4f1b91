//! Bookkeeping of the side that receives segments: what is still due, and whether what arrives was announced.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use kvdepot_codec::SegmentKey;

use crate::stream::SegmentRef;
use crate::{ChunkContent, Error, Result, segment_key, v1};

/// One whole segment, as received. Its checksum is not verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSegment {
    /// Index of its chunk in the transfer's manifest.
    pub chunk_idx: u32,
    /// Name inside its chunk.
    pub key: SegmentKey,
    /// The encoded bytes.
    pub bytes: Bytes,
}

/// Which segments of a transfer are still due.
///
/// A segment is accepted once, if it was announced, at its announced size; anything else is an error of the sender.
#[derive(Debug)]
pub struct Assembly {
    due: HashMap<SegmentRef, u64>,
    unfinished: usize,
}

impl Assembly {
    /// Expects every segment of the chunks given with their index in the manifest.
    pub fn new<'a>(chunks: impl IntoIterator<Item = (u32, &'a ChunkContent)>) -> Self {
        let segments = chunks.into_iter().flat_map(|(chunk_idx, content)| {
            content.segments.iter().map(move |s| (SegmentRef { chunk_idx, key: s.key }, s.segment_bytes))
        });
        segments.collect()
    }

    /// Accepts the start of a segment; its bytes are due from now on.
    ///
    /// # Errors
    /// `Invalid` when it was not announced, has begun before, or has another size than announced.
    pub fn begin(&mut self, chunk_idx: u32, key: SegmentKey, segment_bytes: u64) -> Result<()> {
        match self.due.remove(&SegmentRef { chunk_idx, key }) {
            None => {
                Err(Error::invalid(format!("segment {key:?} of chunk {chunk_idx} was not announced, or came twice")))
            }
            Some(announced) if announced != segment_bytes => Err(Error::invalid(format!(
                "segment {key:?} of chunk {chunk_idx} has {segment_bytes} bytes, announced were {announced}"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Counts a begun segment as arrived.
    pub fn finish(&mut self) {
        self.unfinished = self.unfinished.saturating_sub(1);
    }

    /// Segments that have not arrived whole.
    pub fn outstanding(&self) -> usize {
        self.unfinished
    }

    /// Whether every segment has arrived.
    pub fn is_complete(&self) -> bool {
        self.unfinished == 0
    }

    fn announced_bytes(&self, chunk_idx: u32, key: SegmentKey) -> Option<u64> {
        self.due.get(&SegmentRef { chunk_idx, key }).copied()
    }
}

/// Expects these segments, each with its bytes.
impl FromIterator<(SegmentRef, u64)> for Assembly {
    fn from_iter<T: IntoIterator<Item = (SegmentRef, u64)>>(segments: T) -> Self {
        let due: HashMap<_, _> = segments.into_iter().collect();
        Self { unfinished: due.len(), due }
    }
}

/// Puts the pieces of gRPC messages together to segments, one segment after another.
#[derive(Debug)]
pub struct PieceAssembly {
    segments: Assembly,
    current: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    chunk_idx: u32,
    key: SegmentKey,
    segment_bytes: u64,
    bytes: BytesMut,
}

impl PieceAssembly {
    /// Expects the segments of `segments`.
    pub fn new(segments: Assembly) -> Self {
        Self { segments, current: None }
    }

    /// Takes the next piece; gives the segment that it completes.
    ///
    /// # Errors
    /// `Invalid` when the piece belongs to another segment than the one begun, overruns it, or was not announced.
    pub fn push(&mut self, piece: v1::SegmentPiece) -> Result<Option<ReceivedSegment>> {
        let key = segment_key(piece.key)?;
        let mut partial = match self.current.take() {
            Some(partial) if (partial.chunk_idx, partial.key) == (piece.chunk_idx, key) => partial,
            Some(partial) => {
                return Err(Error::invalid(format!(
                    "segment {:?} of chunk {} ended early",
                    partial.key, partial.chunk_idx
                )));
            }
            None => self.begin(piece.chunk_idx, key)?,
        };
        partial.bytes.extend_from_slice(&piece.payload);
        let received = partial.bytes.len() as u64;
        if received > partial.segment_bytes {
            let announced = partial.segment_bytes;
            return Err(Error::invalid(format!(
                "segment {key:?} has {received} bytes or more, announced were {announced}"
            )));
        }
        if received < partial.segment_bytes {
            self.current = Some(partial);
            return Ok(None);
        }
        self.segments.finish();
        Ok(Some(ReceivedSegment { chunk_idx: partial.chunk_idx, key, bytes: partial.bytes.freeze() }))
    }

    /// Whether every segment has arrived.
    pub fn is_complete(&self) -> bool {
        self.segments.is_complete()
    }

    fn begin(&mut self, chunk_idx: u32, key: SegmentKey) -> Result<Partial> {
        let segment_bytes = self.segments.announced_bytes(chunk_idx, key).unwrap_or(0);
        self.segments.begin(chunk_idx, key, segment_bytes)?;
        Ok(Partial { chunk_idx, key, segment_bytes, bytes: BytesMut::new() })
    }
}
