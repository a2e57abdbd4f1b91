//! Storing encoded chunks, over either plane.

mod grpc;

use std::time::Instant;

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
    /// The same, and those of the chunks that the depot lacks still.
    pub total_bytes: u64,
}

/// What a put came to: all of it is stored and survives a crash of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutReport {
    /// Ids of all chunks of the context, in chain order.
    pub chunk_ids: Vec<ChunkId>,
    /// Chunks that this put added; the rest were stored before. After an acknowledgement that was lost, all were.
    pub new_chunks: usize,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Bytes that were sent, again ones included.
    pub sent_bytes: u64,
    /// How they travelled, the last ones at least.
    pub transport: Transport,
    /// How often the put was announced again after its connection broke.
    pub resumed: usize,
}

impl Client {
    /// Stores a context. Only the chunks that the depot lacks are sent, and none of them is visible before all are
    /// committed.
    ///
    /// `tokens` are all tokens of the context; `chunks` has one entry for each run of
    /// [`Usage::chunk_tokens`](crate::Usage::chunk_tokens) of them, from position 0.
    ///
    /// A put whose connection breaks, or whose daemon is restarted, before it is acknowledged is announced again for
    /// [`ConnectOptions::resume_within`](crate::ConnectOptions::resume_within); what the depot has by then is not sent again.
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
        let announce = v1::PutAnnounce {
            scope: Some(scope.into()),
            tokens: tokens.to_vec(),
            contents: chunks.iter().map(|chunk| (&chunk.content()).into()).collect(),
            transfer_id: 0,
        };
        let mut sending = Sending::new(chunks, &mut progress);
        let mut retries = self.data_plane.retries();
        loop {
            let put = self.put_once(scope, &announce, &mut sending).await;
            match self.data_plane.learn_from(put) {
                Ok((ack, transport)) => return sending.report(ack, transport),
                Err(error) => tokio::time::sleep(retries.pause_after(error, Instant::now())?).await,
            }
        }
    }

    /// Announces the put and sends what the depot lacks, over one connection.
    async fn put_once(
        &self,
        scope: &Scope,
        announce: &v1::PutAnnounce,
        sending: &mut Sending<'_>,
    ) -> Result<(v1::PutAck, Transport)> {
        match self.data_plane.route().await? {
            Route::Quic(connection) => {
                let announce = v1::PutAnnounce { transfer_id: connection.next_transfer_id(), ..announce.clone() };
                let ack = self.data_plane.watched(&connection, connection.put(announce, sending)).await?;
                self.data_plane.give_back(connection);
                Ok((ack, Transport::Quic))
            }
            Route::Grpc => {
                let stored = self.matches(scope, &announce.tokens).await?.chunks.len();
                sending.need((0..).take(announce.contents.len()).skip(stored).collect())?;
                Ok((grpc::put(&self.control, announce.clone(), sending).await?, Transport::Grpc))
            }
        }
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
    /// How often the depot said what it lacks.
    announced: usize,
    progress: PutProgress,
    on_progress: &'a mut (dyn FnMut(PutProgress) + Send + 'a),
}

impl<'a> Sending<'a> {
    fn new(chunks: &'a [EncodedChunk], on_progress: &'a mut (dyn FnMut(PutProgress) + Send + 'a)) -> Self {
        let progress = PutProgress { sent_bytes: 0, total_bytes: 0 };
        Self { chunks, missing: Vec::new(), announced: 0, progress, on_progress }
    }

    /// Learns which chunks the depot lacks.
    pub(crate) fn need(&mut self, missing: Vec<u32>) -> Result<()> {
        if let Some(idx) = missing.iter().find(|idx| **idx as usize >= self.chunks.len()) {
            return Err(Error::invalid(format!("the depot lacks chunk {idx} of {}", self.chunks.len())));
        }
        self.missing = missing;
        self.announced += 1;
        let missing_bytes: u64 = self.missing().iter().map(|(_, chunk)| chunk.content().stored_bytes()).sum();
        self.progress.total_bytes = self.progress.sent_bytes + missing_bytes;
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

    fn report(&self, ack: v1::PutAck, transport: Transport) -> Result<PutReport> {
        Ok(PutReport {
            chunk_ids: ack.chunk_ids.iter().map(|id| ChunkId::from_slice(id)).collect::<Result<_>>()?,
            new_chunks: ack.new_chunks as usize,
            new_bytes: ack.new_bytes,
            sent_bytes: self.progress.sent_bytes,
            transport,
            resumed: self.announced.saturating_sub(1),
        })
    }
}
