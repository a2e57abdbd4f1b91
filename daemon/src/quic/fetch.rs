//! Fetch: the manifest, then the segments of each chunk on a stream of its own, earlier chunks first.

use std::sync::Arc;

use kvdepot_proto::frame::Frame;
use kvdepot_proto::{Error, ErrorKind, Result, v1};
use quinn::SendStream;
use tokio::task::JoinSet;

use super::connection::Session;
use super::frames::{SegmentStream, gone, write_frame};
use crate::blocking::{blocking, flatten};
use crate::depot::Outgoing;
use crate::wire::fetch_target;

/// Chunks that are read or sent at a time: the next ones are read while the first is on its way.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Answers a fetch up to its last segment.
///
/// # Cancel safety
/// Dropping the future resets the streams of unfinished chunks.
pub(super) async fn serve(
    session: &Session,
    send: &mut SendStream,
    request: v1::FetchRequest,
) -> Result<v1::FetchDone> {
    let transfer_id = request.transfer_id;
    let (target, skip_chunks) = fetch_target(request)?;
    let depot = Arc::clone(&session.depot);
    let outgoing = Arc::new(blocking(move || depot.fetch(target, skip_chunks)).await?);
    write_frame(send, Frame::Manifest(outgoing.manifest().into())).await?;
    let stopped = send.stopped();
    tokio::select! {
        sent = send_chunks(session, transfer_id, &outgoing) => sent,
        _ = stopped => Err(Error::new(ErrorKind::Unavailable, "the receiver stopped the fetch")),
    }
}

async fn send_chunks(session: &Session, transfer_id: u64, outgoing: &Arc<Outgoing>) -> Result<v1::FetchDone> {
    let mut done = v1::FetchDone::default();
    let mut sending = JoinSet::new();
    let num_chunks = u32::try_from(outgoing.manifest().chunks.len()).unwrap_or(u32::MAX);
    for chunk_idx in 0..num_chunks {
        if sending.len() == CHUNKS_IN_FLIGHT {
            count(&mut sending, &mut done).await?;
        }
        sending.spawn(send_chunk(session.clone(), transfer_id, Arc::clone(outgoing), chunk_idx));
    }
    while !sending.is_empty() {
        count(&mut sending, &mut done).await?;
    }
    Ok(done)
}

async fn count(sending: &mut JoinSet<Result<v1::FetchDone>>, done: &mut v1::FetchDone) -> Result<()> {
    if let Some(sent) = sending.join_next().await {
        let chunk = flatten(sent)?;
        done.segments += chunk.segments;
        done.payload_bytes += chunk.payload_bytes;
    }
    Ok(())
}

async fn send_chunk(
    session: Session,
    transfer_id: u64,
    outgoing: Arc<Outgoing>,
    chunk_idx: u32,
) -> Result<v1::FetchDone> {
    let segments = blocking(move || outgoing.read_chunk(chunk_idx as usize)).await?;
    let stream = session.connection.open_uni().await.map_err(gone)?;
    stream.set_priority(i32::try_from(chunk_idx).map_or(i32::MIN, |idx| -idx)).map_err(gone)?;
    let mut stream = SegmentStream::new(stream);
    let mut sent = v1::FetchDone::default();
    for segment in segments {
        sent.segments += 1;
        sent.payload_bytes += segment.bytes.len() as u64;
        stream.write(transfer_id, chunk_idx, segment).await?;
    }
    stream.finish()?;
    Ok(sent)
}
