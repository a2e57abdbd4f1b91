//! One fetch: the manifest, then its segments, lent as fast as the receiver takes them.

use std::os::fd::AsFd;
use std::sync::Arc;

use kvdepot_codec::SegmentKey;
use kvdepot_local::{FrameReader, FrameWriter};
use kvdepot_proto::frame::Frame;
use kvdepot_proto::{Result, limits, v1};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::loans::{Loan, Loans};
use super::unexpected;
use crate::blocking::{blocking, flatten};
use crate::depot::{Depot, LentSegment, Outgoing};
use crate::wire::FetchAsked;

/// Loans that are read before their turn.
const READ_AHEAD: usize = 2;

/// A loan on its way from the store.
struct Reading {
    chunk_idx: u32,
    segments: JoinHandle<Result<Vec<LentSegment>>>,
}

/// Answers a fetch up to its last segment.
pub(super) async fn serve(
    depot: Arc<Depot>,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
    request: v1::FetchRequest,
) -> Result<v1::FetchDone> {
    let transfer_id = request.transfer_id;
    let asked = FetchAsked::try_from(request)?;
    let outgoing = Arc::new(blocking(move || depot.fetch(asked.target, asked.skip_chunks)).await?);
    writer.write(&Frame::Manifest(outgoing.manifest().into()), &[]).await?;
    let loans = Loans::new(asked.share.of(outgoing.manifest()), outgoing.contents());
    let (begun, due) = mpsc::channel(READ_AHEAD);
    tokio::select! {
        lent = lend(writer, transfer_id, due) => lent,
        ended = follow(reader, loans, Arc::clone(&outgoing), begun) => {
            Err(ended.err().unwrap_or_else(|| unexpected(None, "the rest of the fetch")))
        }
    }
}

/// Begins loans while there is room and takes in what the receiver says, until it has gone.
async fn follow(
    reader: &mut FrameReader,
    mut loans: Loans<'_>,
    outgoing: Arc<Outgoing>,
    begun: mpsc::Sender<Reading>,
) -> Result<()> {
    let (mut begun, mut adjusts) = (Some(begun), 0);
    loop {
        let room = async {
            match &begun {
                Some(begun) if loans.has_room() => begun.clone().reserve_owned().await.ok(),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(place) = room => match loans.next() {
                // What it gives back is a clone of the sender.
                Some(loan) => drop(place.send(read(&outgoing, loan))),
                None => begun = None,
            },
            frame = reader.next() => match frame? {
                Some(Frame::Taken(_)) => loans.taken()?,
                Some(Frame::Adjust(adjust)) if adjusts < limits::MAX_ADJUSTS => {
                    adjusts += 1;
                    loans.adjust(adjust)?;
                }
                None => return Ok(()),
                other => return Err(unexpected(other.as_ref(), "what the receiver takes")),
            },
        }
    }
}

fn read(outgoing: &Arc<Outgoing>, loan: Loan) -> Reading {
    let chunk_idx = loan.segments.first().map_or(0, |segment| segment.chunk_idx);
    let keys: Vec<SegmentKey> = loan.segments.iter().map(|segment| segment.key).collect();
    let outgoing = Arc::clone(outgoing);
    Reading { chunk_idx, segments: tokio::task::spawn_blocking(move || outgoing.lend_segments(chunk_idx, &keys)) }
}

/// Writes the loans as they have been read, in their order.
async fn lend(writer: &mut FrameWriter, transfer_id: u64, mut due: mpsc::Receiver<Reading>) -> Result<v1::FetchDone> {
    let mut done = v1::FetchDone::default();
    while let Some(Reading { chunk_idx, segments }) = due.recv().await {
        let segments = flatten(segments.await)?;
        let starts = segments.iter().map(|segment| start(transfer_id, chunk_idx, segment)).collect();
        let memories: Vec<_> = segments.iter().map(|segment| segment.memory.as_fd()).collect();
        writer.write(&Frame::Lend(v1::Lend { segments: starts }), &memories).await?;
        done.segments += segments.len() as u64;
        done.payload_bytes += segments.iter().map(|segment| segment.memory.len() as u64).sum::<u64>();
    }
    Ok(done)
}

fn start(transfer_id: u64, chunk_idx: u32, segment: &LentSegment) -> v1::SegmentStart {
    let segment_bytes = segment.memory.len() as u64;
    v1::SegmentStart { transfer_id, chunk_idx, key: Some(segment.key.into()), segment_bytes }
}
