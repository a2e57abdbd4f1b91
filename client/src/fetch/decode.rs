//! Fetch and decode at once: a chunk is decoded on another thread while the next ones are on the wire.

use bytes::Bytes;
use kvdepot_codec::{Geometry, KvChunk};
use kvdepot_proto::{ChunkContent, Manifest, ReceivedSegment};
use tokio::sync::oneshot;

use super::{FetchEvent, FetchReport, FetchRequest};
use crate::{Client, Error, ErrorKind, Result};

/// A context, fetched and decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedKv {
    /// What it is.
    pub manifest: Manifest,
    /// Its chunks, one per entry of the manifest.
    pub chunks: Vec<KvChunk>,
    /// How it came.
    pub report: FetchReport,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchProgress {
    /// Bytes of segments received.
    pub received_bytes: u64,
    /// Bytes of all segments.
    pub total_bytes: u64,
}

impl Client {
    /// Fetches KV and decodes it. Decoding runs on the threads of rayon's global pool and overlaps the transfer.
    ///
    /// # Errors
    /// As [`Self::fetch`], and `Corrupt` or `Incompatible` when a chunk does not decode.
    ///
    /// # Cancel safety
    /// As [`Self::fetch`]; chunks that have come whole may be decoded to the end.
    pub async fn fetch_kv(
        &self,
        request: &FetchRequest,
        mut progress: impl FnMut(FetchProgress) + Send,
    ) -> Result<FetchedKv> {
        let mut pending = None;
        let report = self.fetch(request, |event| {
            match (event, &mut pending) {
                (FetchEvent::Manifest(manifest), pending) => {
                    *pending = Some(Pending::new(manifest.clone(), request.wants.max_qualities()));
                }
                (FetchEvent::Segment(segment), Some(pending)) => progress(pending.add(segment)),
                (FetchEvent::Segment(_), None) => return Err(internal("a segment came before the manifest")),
            }
            Ok(())
        });
        let report = report.await?;
        let pending = pending.ok_or_else(|| internal("a fetch ended without a manifest"))?;
        let (manifest, chunks) = pending.decoded().await?;
        Ok(FetchedKv { manifest, chunks, report })
    }
}

/// Chunks that are arriving or being decoded.
struct Pending {
    manifest: Manifest,
    /// What is due of each chunk.
    due: Vec<ChunkContent>,
    chunks: Vec<Stage>,
    progress: FetchProgress,
}

enum Stage {
    Arriving(Vec<Bytes>),
    Decoding(oneshot::Receiver<kvdepot_codec::Result<KvChunk>>),
}

impl Pending {
    fn new(manifest: Manifest, max_qualities: u8) -> Self {
        let due: Vec<ChunkContent> = manifest.chunks.iter().map(|chunk| chunk.content.leading(max_qualities)).collect();
        let total_bytes = due.iter().map(ChunkContent::stored_bytes).sum();
        let chunks = due.iter().map(|_| Stage::Arriving(Vec::new())).collect();
        Self { manifest, due, chunks, progress: FetchProgress { received_bytes: 0, total_bytes } }
    }

    /// Takes a segment; starts to decode its chunk when that is whole.
    fn add(&mut self, segment: &ReceivedSegment) -> FetchProgress {
        let idx = segment.chunk_idx as usize;
        if let (Some(stage), Some(entry)) = (self.chunks.get_mut(idx), self.manifest.chunks.get(idx))
            && let Stage::Arriving(segments) = stage
        {
            segments.push(segment.bytes.clone());
            if self.due.get(idx).is_some_and(|due| segments.len() == due.segments.len()) {
                let segments = std::mem::take(segments);
                *stage = Stage::Decoding(decode(self.manifest.spec.geometry, entry.num_tokens as usize, segments));
            }
        }
        self.progress.received_bytes += segment.bytes.len() as u64;
        self.progress
    }

    async fn decoded(self) -> Result<(Manifest, Vec<KvChunk>)> {
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for (stage, entry) in self.chunks.into_iter().zip(&self.manifest.chunks) {
            let Stage::Decoding(decoded) = stage else { return Err(internal("a fetch ended before its last segment")) };
            let chunk = decoded.await.map_err(|_| internal("the decoder of a chunk panicked"))?;
            chunks.push(chunk.map_err(|error| Error::from(error).context(format!("chunk {}", entry.id)))?);
        }
        Ok((self.manifest, chunks))
    }
}

fn decode(
    geometry: Geometry,
    num_tokens: usize,
    segments: Vec<Bytes>,
) -> oneshot::Receiver<kvdepot_codec::Result<KvChunk>> {
    let (done, decoded) = oneshot::channel();
    rayon::spawn(move || {
        if !done.is_closed() {
            let _ = done.send(kvdepot_codec::decode(geometry, num_tokens, segments.iter().map(|bytes| &bytes[..])));
        }
    });
    decoded
}

fn internal(message: &str) -> Error {
    Error::new(ErrorKind::Internal, message)
}
