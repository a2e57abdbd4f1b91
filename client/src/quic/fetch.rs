//! Fetch over QUIC: one request, a manifest, batches on streams of their own, and wants that shrink meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use kvdepot_proto::{
    Manifest, ReceivedSegment,
    frame::Frame,
    stream::{BatchEvent, BatchReader, FetchReceiver, Wants},
};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Connection, broken,
    frames::{READ_BYTES, unexpected},
};
use crate::{
    Error, ErrorKind, Result, Transport,
    fetch::{Delivery, stalled},
};

/// Segments that are read but not yet handed over; more stay in the streams, where flow control holds the sender.
const QUEUED_SEGMENTS: usize = 4;

impl Connection {
    /// Fetches what is missing.
    pub(crate) async fn fetch(&self, wants: &mut watch::Receiver<Wants>, delivery: &mut Delivery<'_>) -> Result<()> {
        let transfer_id = self.next_transfer_id();
        let request = Frame::Fetch(delivery.request(transfer_id));
        let asked = async {
            let (send, mut answers) = self.ask(request).await?;
            match answers.next().await? {
                Frame::Manifest(manifest) => Ok((send, answers, manifest)),
                other => Err(unexpected(&other, "a manifest")),
            }
        };
        let (mut send, mut answers, manifest) = self.within("the manifest", asked).await?;
        let (manifest, due) = delivery.begin(manifest, Transport::Quic)?;
        let incoming = Arc::new(Incoming { transfer_id, manifest, due: Mutex::new(due) });
        let (queue, mut segments) = mpsc::channel::<ReceivedSegment>(QUEUED_SEGMENTS);
        let mut readers = JoinSet::new();
        let mut done = false;
        while !(done && incoming.due(|due| due.is_complete())) {
            tokio::select! {
                Some(segment) = segments.recv() => {
                    if incoming.due(|due| due.finish((&segment).into())) {
                        delivery.segment(&segment)?;
                    }
                }
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
                    delivery.adjust(now);
                    incoming.adjust(&mut send, now).await?;
                }
                frame = answers.next(), if !done => match frame? {
                    Frame::FetchDone(_) => done = true,
                    other => return Err(unexpected(&other, "the end of the fetch")),
                },
                () = tokio::time::sleep(self.timeout) => return Err(incoming.due(|due| stalled(due, self.timeout))),
            }
        }
        Ok(())
    }
}

/// What the readers of one fetch's streams share.
struct Incoming {
    transfer_id: u64,
    manifest: Arc<Manifest>,
    due: Mutex<FetchReceiver>,
}

impl Incoming {
    /// Wants less, and says so to the depot.
    async fn adjust(&self, send: &mut SendStream, wants: Wants) -> Result<()> {
        if let Some(adjust) = self.due(|due| due.adjust(wants)) {
            match send.write_chunk(Frame::Adjust(adjust).to_bytes()).await {
                // The depot has sent everything and reads no more: its last frame says so, or why not.
                Ok(()) | Err(WriteError::Stopped(_)) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }

    /// Reads segments until the stream ends; queues each when it is whole and verified.
    async fn read(self: Arc<Self>, mut stream: RecvStream, queue: mpsc::Sender<ReceivedSegment>) -> Result<()> {
        let mut batch = BatchReader::new(self.transfer_id);
        loop {
            match stream.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => batch.push(&chunk.bytes),
                Ok(None) => return batch.end(),
                Err(ReadError::Reset(code)) => return batch.reset(code.into_inner()),
                Err(error) => return Err(broken(error)),
            }
            while let Some(event) = self.due(|due| batch.next_event(due))? {
                let BatchEvent::Segment(segment) = event else { return Ok(()) };
                self.manifest.verify(&segment)?;
                if queue.send(segment).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn due<T>(&self, access: impl FnOnce(&mut FetchReceiver) -> T) -> T {
        access(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn panicked(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("the reader of a stream failed: {error}"))
}
