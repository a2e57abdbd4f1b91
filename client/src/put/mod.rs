//! Storing encoded chunks, over either plane.

mod grpc;

use kvdepot_codec::{Level, Segment};
use kvdepot_proto::{ChunkContent, ChunkId, Scope, SegmentEntry, check_tokens, v1};

use crate::{Client, Error, Result, Transport, data_plane::Route};

/// One chunk of a context, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChunk {
    /// Level of all its segments.
    pub level: Level,
    /// All its segments, in the order in which they are sent.
    pub segments: Vec<Segment>,
}

/// How far a put is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutProgress {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes of the chunks that the depot lacks.
    pub total_bytes: u64,
}

/// What a put came to: all of it is stored and survives a crash of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutReport {
    /// Ids of all chunks of the context, in chain order.
    pub chunk_ids: Vec<ChunkId>,
    /// Chunks that this put added; the rest were stored before.
    pub new_chunks: usize,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// How they travelled.
    pub transport: Transport,
}

impl Client {
    /// Stores a context. Only the chunks that the depot lacks are sent, and none of them is visible before all are
    /// committed.
    ///
    /// `tokens` are all tokens of the context; `chunks` has one entry for each run of
    /// [`Usage::chunk_tokens`](crate::Usage::chunk_tokens) of them, from position 0.
    ///
    /// # Errors
    /// `Invalid` when the chunks do not fit the tokens, or are lossy and the scope is not; `Busy` when the depot has no
    /// room; `Unavailable` when it does not answer, in which case nothing may have been stored, or all.
    ///
    /// # Cancel safety
    /// Dropping the future ends the transfer; nothing half-stored is left behind.
    pub async fn put(
        &self,
        scope: &Scope,
        tokens: &[u32],
        chunks: &[EncodedChunk],
        mut progress: impl FnMut(PutProgress) + Send,
    ) -> Result<PutReport> {
        check_tokens(tokens)?;
        let contents: Vec<_> = chunks.iter().map(|chunk| (&chunk.content()).into()).collect();
        let announce = |transfer_id| v1::PutAnnounce {
            scope: Some(scope.into()),
            tokens: tokens.to_vec(),
            contents: contents.clone(),
            transfer_id,
        };
        let mut sending = Sending::new(chunks, &mut progress);
        let (ack, transport) = match self.data_plane.route().await? {
            Route::Quic(connection) => {
                let put = connection.put(announce(connection.next_transfer_id()), &mut sending);
                let ack = self.data_plane.watched(&connection, put).await?;
                self.data_plane.give_back(connection);
                (ack, Transport::Quic)
            }
            Route::Grpc => {
                let stored = self.matches(scope, tokens).await?.chunks.len();
                sending.need((0..).take(chunks.len()).skip(stored).collect())?;
                (grpc::put(&self.control, announce(0), &mut sending).await?, Transport::Grpc)
            }
        };
        report(ack, sending.progress.sent_bytes, transport)
    }
}

impl EncodedChunk {
    /// Level, names and sizes: what is announced.
    pub fn content(&self) -> ChunkContent {
        let entry = |segment: &Segment| SegmentEntry { key: segment.key, segment_bytes: segment.bytes.len() as u64 };
        ChunkContent { level: self.level, segments: self.segments.iter().map(entry).collect() }
    }
}

/// The chunks of one put, and how far it is.
pub(crate) struct Sending<'a> {
    chunks: &'a [EncodedChunk],
    missing: Vec<u32>,
    progress: PutProgress,
    on_progress: &'a mut (dyn FnMut(PutProgress) + Send + 'a),
}

impl<'a> Sending<'a> {
    fn new(chunks: &'a [EncodedChunk], on_progress: &'a mut (dyn FnMut(PutProgress) + Send + 'a)) -> Self {
        Self { chunks, missing: Vec::new(), progress: PutProgress { sent_bytes: 0, total_bytes: 0 }, on_progress }
    }

    /// Learns which chunks the depot lacks.
    pub(crate) fn need(&mut self, missing: Vec<u32>) -> Result<()> {
        if let Some(idx) = missing.iter().find(|idx| **idx as usize >= self.chunks.len()) {
            return Err(Error::invalid(format!("the depot lacks chunk {idx} of {}", self.chunks.len())));
        }
        self.missing = missing;
        self.progress.total_bytes = self.missing().iter().map(|(_, chunk)| chunk.content().stored_bytes()).sum();
        (self.on_progress)(self.progress);
        Ok(())
    }

    /// The chunks that the depot lacks, by index.
    pub(crate) fn missing(&self) -> Vec<(u32, &'a EncodedChunk)> {
        self.missing.iter().filter_map(|idx| Some((*idx, self.chunks.get(*idx as usize)?))).collect()
    }

    /// Counts bytes as sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.progress.sent_bytes += bytes as u64;
        (self.on_progress)(self.progress);
    }
}

fn report(ack: v1::PutAck, sent_bytes: u64, transport: Transport) -> Result<PutReport> {
    Ok(PutReport {
        chunk_ids: ack.chunk_ids.iter().map(|id| ChunkId::from_slice(id)).collect::<Result<_>>()?,
        new_chunks: ack.new_chunks as usize,
        new_bytes: ack.new_bytes,
        sent_bytes,
        transport,
    })
}
