//! Fetch over QUIC: one request, a manifest, segments on streams of their own.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kvdepot_codec::SegmentKey;
use kvdepot_proto::{
    Assembly, Manifest, ReceivedSegment,
    frame::{Frame, SegmentDecoder, SegmentEvent},
    segment_key, v1,
};
use quinn::RecvStream;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Connection, broken,
    frames::{READ_BYTES, unexpected},
};
use crate::{
    Error, ErrorKind, Result,
    fetch::{self, Delivery},
};

/// Segments that are read but not yet handed over; more stay in the streams, where flow control holds the sender.
const QUEUED_SEGMENTS: usize = 4;

impl Connection {
    /// Runs one fetch to its end.
    pub(crate) async fn fetch(&self, request: v1::FetchRequest, delivery: &mut Delivery<'_>) -> Result<()> {
        let transfer_id = request.transfer_id;
        let asked = async {
            let mut answers = self.ask(Frame::Fetch(request)).await?;
            match answers.next().await? {
                Frame::Manifest(manifest) => Ok((answers, manifest)),
                other => Err(unexpected(&other, "a manifest")),
            }
        };
        let (mut answers, manifest) = self.within("the manifest", asked).await?;
        let (manifest, due) = delivery.begin(manifest)?;
        let incoming = Arc::new(Incoming { transfer_id, manifest, due: Mutex::new(due) });
        let (queue, mut segments) = mpsc::channel(QUEUED_SEGMENTS);
        let mut readers = JoinSet::new();
        let mut done = false;
        while !(done && delivery.is_complete()) {
            tokio::select! {
                Some(segment) = segments.recv() => delivery.segment(&segment)?,
                stream = self.connection.accept_uni() => {
                    readers.spawn(Arc::clone(&incoming).read(stream.map_err(broken)?, queue.clone()));
                }
                Some(ended) = readers.join_next() => {
                    if let Err(error) = ended.unwrap_or_else(|error| Err(panicked(&error))) {
                        return Err(answers.reason(error).await);
                    }
                }
                frame = answers.next(), if !done => match frame? {
                    Frame::FetchDone(_) => done = true,
                    other => return Err(unexpected(&other, "the end of the fetch")),
                },
                () = tokio::time::sleep(self.timeout) => return Err(self.stalled(&incoming)),
            }
        }
        Ok(())
    }

    fn stalled(&self, incoming: &Incoming) -> Error {
        let (due, timeout) = (incoming.due(|due| due.outstanding()), self.timeout);
        Error::new(
            ErrorKind::Unavailable,
            format!("the transfer stood still for {timeout:?} with {due} segments to come; try again"),
        )
    }
}

/// What the readers of one fetch's streams share.
struct Incoming {
    transfer_id: u64,
    manifest: Arc<Manifest>,
    due: Mutex<Assembly>,
}

impl Incoming {
    /// Reads segments until the stream ends; queues each when it is whole and verified.
    async fn read(self: Arc<Self>, mut stream: RecvStream, queue: mpsc::Sender<ReceivedSegment>) -> Result<()> {
        let mut decoder = SegmentDecoder::default();
        let mut current = None;
        while let Some(chunk) = stream.read_chunk(READ_BYTES, true).await.map_err(broken)? {
            decoder.push(&chunk.bytes);
            while let Some(event) = decoder.next_event()? {
                match event {
                    SegmentEvent::Start(start) => current = Some(self.begin(start)?),
                    SegmentEvent::End(bytes) => {
                        let Some(begun) = current.take() else { return Err(Error::invalid("segment without a start")) };
                        let segment = self.finish(begun, bytes)?;
                        if queue.send(segment).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        if decoder.is_empty() { Ok(()) } else { Err(broken("a stream ended inside a segment")) }
    }

    fn begin(&self, start: v1::SegmentStart) -> Result<(u32, SegmentKey)> {
        if start.transfer_id != self.transfer_id {
            let (found, expected) = (start.transfer_id, self.transfer_id);
            return Err(Error::invalid(format!("segment of transfer {found} in transfer {expected}")));
        }
        let key = segment_key(start.key)?;
        self.due(|due| due.begin(start.chunk_idx, key, start.segment_bytes))?;
        Ok((start.chunk_idx, key))
    }

    fn finish(&self, (chunk_idx, key): (u32, SegmentKey), bytes: Bytes) -> Result<ReceivedSegment> {
        let segment = ReceivedSegment { chunk_idx, key, bytes };
        fetch::verify(&self.manifest, &segment)?;
        self.due(Assembly::finish);
        Ok(segment)
    }

    fn due<T>(&self, access: impl FnOnce(&mut Assembly) -> T) -> T {
        access(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn panicked(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("the reader of a stream failed: {error}"))
}
