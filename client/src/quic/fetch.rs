//! Fetch over QUIC: one request, a manifest, batches on streams of their own, and wants that shrink meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kvdepot_proto::{
    ChunkContent, Manifest, ReceivedSegment,
    frame::{Frame, SegmentDecoder, SegmentEvent},
    segment_key,
    stream::{FetchReceiver, SegmentRef, Wants},
    transport::NOT_WANTED_CODE,
    v1,
};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

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
/// The code of a stream of which the depot knows that nothing is wanted.
const NOT_WANTED: VarInt = VarInt::from_u32(NOT_WANTED_CODE);

impl Connection {
    /// Runs one fetch to its end.
    pub(crate) async fn fetch(
        &self,
        request: v1::FetchRequest,
        mut wants: watch::Receiver<Wants>,
        delivery: &mut Delivery<'_>,
    ) -> Result<()> {
        let transfer_id = request.transfer_id;
        let asked = async {
            let (send, mut answers) = self.ask(Frame::Fetch(request)).await?;
            match answers.next().await? {
                Frame::Manifest(manifest) => Ok((send, answers, manifest)),
                other => Err(unexpected(&other, "a manifest")),
            }
        };
        let (mut send, mut answers, manifest) = self.within("the manifest", asked).await?;
        let incoming = Arc::new(Incoming::new(transfer_id, delivery.begin(manifest)?, delivery.wants()));
        let (queue, mut segments) = mpsc::channel(QUEUED_SEGMENTS);
        let mut readers = JoinSet::new();
        let mut done = false;
        wants.mark_changed();
        while !(done && incoming.is_complete(delivery.segments())) {
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
                Ok(()) = wants.changed(), if !done => {
                    let now = *wants.borrow_and_update();
                    incoming.adjust(&mut send, now).await?;
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
        let (due, timeout) = (incoming.state(|state| state.due.outstanding()), self.timeout);
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
    state: Mutex<State>,
}

struct State {
    due: FetchReceiver,
    wants: Wants,
    /// Wanted segments that were verified, to be handed over.
    verified: usize,
}

impl Incoming {
    fn new(transfer_id: u64, manifest: Arc<Manifest>, wants: Wants) -> Self {
        let contents: Vec<&ChunkContent> = manifest.chunks.iter().map(|chunk| &chunk.content).collect();
        let due = FetchReceiver::new(&contents, wants);
        // The request said how many quality layers are wanted; which chunk is the first is said after it.
        let said = Wants::new(0, wants.max_qualities());
        Self { transfer_id, manifest, state: Mutex::new(State { due, wants: said, verified: 0 }) }
    }

    /// Whether all that is wanted has come and, with so many segments, been handed over.
    fn is_complete(&self, handed_over: usize) -> bool {
        self.state(|state| state.due.is_complete() && state.verified == handed_over)
    }

    /// Wants less, and says so to the depot.
    async fn adjust(&self, send: &mut SendStream, wants: Wants) -> Result<()> {
        let is_less = self.state(|state| {
            state.due.adjust(wants);
            state.wants.adjust(wants.first_chunk(), wants.max_qualities())
        });
        if is_less {
            let (first_chunk, max_qualities) = (wants.first_chunk(), wants.max_qualities().into());
            let frame = Frame::Adjust(v1::Adjust { first_chunk, max_qualities });
            match send.write_chunk(frame.to_bytes()).await {
                // The depot has sent everything and reads no more: its last frame says so, or why not.
                Ok(()) | Err(WriteError::Stopped(_)) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }

    /// Reads segments until the stream ends; queues each when it is whole and verified.
    async fn read(self: Arc<Self>, mut stream: RecvStream, queue: mpsc::Sender<ReceivedSegment>) -> Result<()> {
        let mut decoder = SegmentDecoder::default();
        let mut current = None;
        loop {
            let chunk = match stream.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // Of this fetch or of one before it: what is wanted is waited for, whatever was reset.
                Err(ReadError::Reset(code)) if code == NOT_WANTED => return Ok(()),
                Err(error) => return Err(broken(error)),
            };
            decoder.push(&chunk.bytes);
            while let Some(event) = decoder.next_event()? {
                match event {
                    // What a fetch before this one wanted no longer may still be under way.
                    SegmentEvent::Start(start) if start.transfer_id < self.transfer_id => return Ok(()),
                    SegmentEvent::Start(start) => current = Some(self.begin(start)?),
                    SegmentEvent::End(bytes) => {
                        let Some(begun) = current.take() else { return Err(Error::invalid("segment without a start")) };
                        if let Some(segment) = self.finish(begun, bytes)?
                            && queue.send(segment).await.is_err()
                        {
                            return Ok(());
                        }
                    }
                }
            }
        }
        if decoder.is_empty() { Ok(()) } else { Err(broken("a stream ended inside a segment")) }
    }

    fn begin(&self, start: v1::SegmentStart) -> Result<SegmentRef> {
        if start.transfer_id != self.transfer_id {
            let (found, expected) = (start.transfer_id, self.transfer_id);
            return Err(Error::invalid(format!("segment of transfer {found} in transfer {expected}")));
        }
        let segment = SegmentRef { chunk_idx: start.chunk_idx, key: segment_key(start.key)? };
        self.state(|state| state.due.begin(segment, start.segment_bytes))?;
        Ok(segment)
    }

    /// The segment, verified, if it is wanted.
    fn finish(&self, begun: SegmentRef, bytes: Bytes) -> Result<Option<ReceivedSegment>> {
        let segment = ReceivedSegment { chunk_idx: begun.chunk_idx, key: begun.key, bytes };
        fetch::verify(&self.manifest, &segment)?;
        let is_wanted = self.state(|state| {
            let is_wanted = state.due.finish(begun);
            state.verified += usize::from(is_wanted);
            is_wanted
        });
        Ok(is_wanted.then_some(segment))
    }

    fn state<T>(&self, access: impl FnOnce(&mut State) -> T) -> T {
        access(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn panicked(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("the reader of a stream failed: {error}"))
}
