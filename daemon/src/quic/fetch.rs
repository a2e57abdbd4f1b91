//! Fetch: the manifest, then the batches that are wanted, in the order asked for, each on a stream of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvdepot_proto::frame::{Frame, FrameDecoder};
use kvdepot_proto::stream::{BatchId, FetchSender, SegmentRef, Wants, by_chunk};
use kvdepot_proto::{Error, ErrorKind, Result, limits, v1};
use quinn::{RecvStream, SendStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::close;
use super::connection::Session;
use super::frames::{SegmentStream, gone, read_frame, write_frame};
use crate::blocking::{blocking, flatten};
use crate::depot::Outgoing;
use crate::limits::Claim;
use crate::wire::FetchAsked;

/// Answers a fetch up to its last segment.
///
/// # Cancel safety
/// Dropping the future resets the streams of unfinished batches.
pub(super) async fn serve(
    session: &Session,
    send: &mut SendStream,
    adjusts: Adjusts<'_>,
    request: v1::FetchRequest,
) -> Result<v1::FetchDone> {
    let transfer_id = request.transfer_id;
    let asked = FetchAsked::try_from(request)?;
    let depot = Arc::clone(&session.depot);
    let outgoing = Arc::new(blocking(move || depot.fetch(asked.target, asked.skip_chunks)).await?);
    write_frame(send, Frame::Manifest(outgoing.manifest().into())).await?;
    let _turn = session.budget.turn().await?;
    let sender = asked.share.of(outgoing.manifest());
    let fetch = Fetch { session, transfer_id, outgoing, sender, under_way: BTreeMap::new(), tasks: JoinSet::new() };
    let stopped = send.stopped();
    tokio::select! {
        sent = fetch.run(adjusts) => sent,
        _ = stopped => Err(Error::new(ErrorKind::Unavailable, "the receiver stopped the fetch")),
    }
}

/// The wants that a receiver takes back while it receives.
pub(super) struct Adjusts<'s> {
    stream: &'s mut RecvStream,
    decoder: FrameDecoder,
    count: usize,
    has_ended: bool,
}

impl<'s> Adjusts<'s> {
    /// Those on the stream of a request, of which `decoder` may hold some already.
    pub(super) fn new(stream: &'s mut RecvStream, decoder: FrameDecoder) -> Self {
        Self { stream, decoder, count: 0, has_ended: false }
    }

    /// The next one; never, when the receiver has ended the stream.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Result<Wants> {
        if !self.has_ended {
            match read_frame(self.stream, &mut self.decoder).await? {
                Some(Frame::Adjust(adjust)) if self.count < limits::MAX_ADJUSTS => {
                    self.count += 1;
                    return Wants::from_message(adjust.first_chunk, adjust.max_qualities);
                }
                Some(other) => return Err(Error::invalid(format!("frame {} during a fetch", other.name()))),
                None => self.has_ended = true,
            }
        }
        std::future::pending().await
    }
}

/// A fetch in progress.
struct Fetch<'s> {
    session: &'s Session,
    transfer_id: u64,
    outgoing: Arc<Outgoing>,
    sender: FetchSender,
    under_way: BTreeMap<BatchId, UnderWay>,
    tasks: JoinSet<Result<Sent>>,
}

/// A batch that is read or on its way.
struct UnderWay {
    _claim: Claim,
    /// Resets its stream.
    _reset: oneshot::Sender<()>,
}

/// What was sent of a batch.
struct Sent {
    id: BatchId,
    done: v1::FetchDone,
}

impl Fetch<'_> {
    async fn run(mut self, mut adjusts: Adjusts<'_>) -> Result<v1::FetchDone> {
        let mut done = v1::FetchDone::default();
        loop {
            self.begin_batches();
            if self.tasks.is_empty() {
                return Ok(done);
            }
            tokio::select! {
                Some(sent) = self.tasks.join_next() => {
                    let Sent { id, done: batch } = flatten(sent)?;
                    self.sender.sent(id);
                    self.under_way.remove(&id);
                    done.segments += batch.segments;
                    done.payload_bytes += batch.payload_bytes;
                }
                wants = adjusts.next() => {
                    let wants = wants?;
                    let unwanted = self.sender.adjust(wants.first_chunk(), wants.max_qualities(), &self.outgoing.contents());
                    unwanted.iter().for_each(|id| _ = self.under_way.remove(id));
                }
            }
        }
    }

    /// Begins batches for as long as there is room.
    fn begin_batches(&mut self) {
        let contents = self.outgoing.contents();
        while self.under_way.is_empty() || self.session.budget.has_room() {
            let before = self.sender.bytes_under_way();
            let Some((id, segments)) = self.sender.next_batch(&contents) else { break };
            let (reset, unwanted) = oneshot::channel();
            let claim = self.session.budget.claim(self.sender.bytes_under_way() - before);
            self.under_way.insert(id, UnderWay { _claim: claim, _reset: reset });
            let (session, outgoing) = (self.session.clone(), Arc::clone(&self.outgoing));
            self.tasks.spawn(send_batch(session, self.transfer_id, outgoing, id, segments, unwanted));
        }
    }
}

/// Sends a batch, or what of it is out when it is `unwanted`: its sender drops that.
async fn send_batch(
    session: Session,
    transfer_id: u64,
    outgoing: Arc<Outgoing>,
    id: BatchId,
    segments: Vec<SegmentRef>,
    unwanted: oneshot::Receiver<()>,
) -> Result<Sent> {
    let stream = session.connection.open_uni().await.map_err(gone)?;
    stream.set_priority(i32::try_from(id).map_or(i32::MIN, |id| -id)).map_err(gone)?;
    let mut stream = SegmentStream::new(stream);
    let written = tokio::select! {
        written = write_batch(&mut stream, transfer_id, outgoing, segments) => Some(written),
        _ = unwanted => None,
    };
    match written {
        Some(done) => Ok(Sent { id, done: done? }),
        None => {
            stream.reset(close::NOT_WANTED);
            Ok(Sent { id, done: v1::FetchDone::default() })
        }
    }
}

async fn write_batch(
    stream: &mut SegmentStream,
    transfer_id: u64,
    outgoing: Arc<Outgoing>,
    segments: Vec<SegmentRef>,
) -> Result<v1::FetchDone> {
    let mut done = v1::FetchDone::default();
    for (chunk_idx, keys) in by_chunk(&segments) {
        let reader = Arc::clone(&outgoing);
        for segment in blocking(move || reader.read_segments(chunk_idx, &keys)).await? {
            done.segments += 1;
            done.payload_bytes += segment.bytes.len() as u64;
            stream.write(transfer_id, chunk_idx, segment).await?;
        }
    }
    stream.finish().await?;
    Ok(done)
}
