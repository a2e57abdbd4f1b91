//! Put: what is missing, then its segments from whichever streams they come on, then the acknowledgement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvdepot_proto::frame::{Frame, SegmentDecoder, SegmentEvent};
use kvdepot_proto::{Announce, Error, ReceivedSegment, Result, segment_key, v1};
use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::close;
use super::connection::{MEMORY_UNIT_BYTES, Session};
use super::frames::{read_some, write_frame};
use crate::blocking::blocking;
use crate::intake::{Delivery, Intake};

/// The puts of a connection that take segments, by transfer id.
#[derive(Clone, Default)]
pub(super) struct Puts(Arc<Mutex<HashMap<u64, mpsc::Sender<Delivery>>>>);

/// A put that takes segments; it takes no more when this is dropped.
struct Registration {
    puts: Puts,
    transfer_id: u64,
}

impl Puts {
    fn register(&self, transfer_id: u64, segments: mpsc::Sender<Delivery>) -> Result<Registration> {
        let mut puts = self.lock();
        if puts.contains_key(&transfer_id) {
            return Err(Error::invalid(format!("transfer {transfer_id} is in progress on this connection already")));
        }
        puts.insert(transfer_id, segments);
        Ok(Registration { puts: self.clone(), transfer_id })
    }

    fn sender(&self, transfer_id: u64) -> Option<mpsc::Sender<Delivery>> {
        self.lock().get(&transfer_id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Delivery>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.puts.lock().remove(&self.transfer_id);
    }
}

/// Answers an announcement, up to the commit.
///
/// # Cancel safety
/// Dropping the future drops the put, unless everything has arrived.
pub(super) async fn serve(session: &Session, send: &mut SendStream, announce: v1::PutAnnounce) -> Result<v1::PutAck> {
    let transfer_id = announce.transfer_id;
    let announce = Announce::try_from(announce)?;
    let depot = Arc::clone(&session.depot);
    let staged = blocking(move || depot.announce(announce)).await?;
    let chunk_idx = staged.missing().map(|idx| u32::try_from(idx).unwrap_or(u32::MAX)).collect();
    let (segments, intake) = Intake::start(staged);
    let _registration = session.puts.register(transfer_id, segments)?;
    write_frame(send, Frame::Need(v1::PutNeed { chunk_idx })).await?;
    let stopped = send.stopped();
    let committed = tokio::select! {
        outcome = intake.outcome() => outcome?,
        _ = stopped => return Err(super::frames::gone("it stopped the put")),
    };
    Ok(committed.into())
}

/// Takes the segments of one stream to the puts that they belong to.
pub(super) async fn receive_segments(session: Session, mut stream: RecvStream) {
    if let Err(error) = receive_all(&session, &mut stream).await {
        tracing::debug!(peer = %session.connection.remote_address(), %error, "segment stream ended early");
        // It may have ended by itself.
        let _ = stream.stop(close::UNKNOWN_TRANSFER);
    }
}

async fn receive_all(session: &Session, stream: &mut RecvStream) -> Result<()> {
    let mut decoder = SegmentDecoder::default();
    let mut begun = None;
    while let Some(bytes) = read_some(stream).await? {
        decoder.push(&bytes);
        while let Some(event) = decoder.next_event()? {
            match (event, begun.take()) {
                (SegmentEvent::Start(start), _) => begun = Some(Begun::new(session, start).await?),
                (SegmentEvent::End(bytes), Some(segment)) => segment.deliver(bytes).await?,
                (SegmentEvent::End(_), None) => return Err(Error::invalid("segment without a start")),
            }
        }
    }
    if decoder.is_empty() { Ok(()) } else { Err(Error::invalid("the stream ends within a segment")) }
}

/// A segment whose bytes are on their way.
struct Begun {
    start: v1::SegmentStart,
    put: mpsc::Sender<Delivery>,
    memory: OwnedSemaphorePermit,
}

impl Begun {
    /// Finds the put, and waits until the connection's share of memory has room for the segment.
    async fn new(session: &Session, start: v1::SegmentStart) -> Result<Self> {
        let unknown = || Error::invalid(format!("no put announced transfer {}", start.transfer_id));
        let put = session.puts.sender(start.transfer_id).ok_or_else(unknown)?;
        let units = u32::try_from(start.segment_bytes.div_ceil(MEMORY_UNIT_BYTES)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&session.memory).acquire_many_owned(units).await.map_err(super::frames::gone)?;
        Ok(Self { start, put, memory })
    }

    async fn deliver(self, bytes: bytes::Bytes) -> Result<()> {
        let segment = ReceivedSegment { chunk_idx: self.start.chunk_idx, key: segment_key(self.start.key)?, bytes };
        let delivery = Delivery { segment, _memory: Some(self.memory) };
        self.put.send(delivery).await.map_err(|_| Error::invalid("the put has ended"))
    }
}
