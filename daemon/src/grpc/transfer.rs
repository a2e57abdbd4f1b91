//! Contexts over gRPC, for callers that have no QUIC: segments cut into pieces.

use std::sync::Arc;
use std::time::Instant;

use kvdepot_proto::stream::{Share, by_chunk};
use kvdepot_proto::v1::{get_response, put_request};
use kvdepot_proto::{Announce, Assembly, Error, PieceAssembly, Result, limits, v1};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::blocking::blocking;
use crate::depot::{Committed, Depot, Outgoing, StoredSegment};
use crate::intake::{Delivery, Intake};

/// Messages that wait to be sent, besides the chunk that is read.
const WAITING_MESSAGES: usize = 8;

/// Receives a put to its end.
///
/// # Cancel safety
/// Dropping the future drops the put, unless everything has arrived.
pub(super) async fn put(depot: &Arc<Depot>, mut requests: Streaming<v1::PutRequest>) -> Result<Committed> {
    let started = Instant::now();
    let announce = match next_message(&mut requests).await? {
        Some(put_request::Message::Announce(announce)) => Announce::try_from(announce)?,
        _ => return Err(Error::invalid("put without an announcement first")),
    };
    let depot = Arc::clone(depot);
    let staged = blocking(move || depot.announce(announce)).await?;
    let missing = staged.missing();
    let mut pieces = PieceAssembly::new(Assembly::new((0u32..).zip(staged.contents())));
    let (segments, intake) = Intake::start(staged);
    while let Some(message) = next_message(&mut requests).await? {
        let put_request::Message::Piece(piece) = message else {
            return Err(Error::invalid("put with a second announcement"));
        };
        let Some(segment) = pieces.push(piece)? else { continue };
        let is_due = missing.contains(&(segment.chunk_idx as usize));
        // A put that no longer takes segments has failed: why is in its outcome.
        if is_due && segments.send(Delivery { segment, _memory: None }).await.is_err() {
            break;
        }
    }
    drop(segments);
    let committed = intake.outcome().await?;
    let millis = started.elapsed().as_millis();
    tracing::info!(new_chunks = committed.new_chunks, new_bytes = committed.new_bytes, millis, "put over gRPC");
    Ok(committed)
}

async fn next_message(requests: &mut Streaming<v1::PutRequest>) -> Result<Option<put_request::Message>> {
    match requests.message().await? {
        Some(request) => request.message.map(Some).ok_or_else(|| Error::invalid("put with an empty message")),
        None => Ok(None),
    }
}

/// Sends the share of a context; the sender ends when the receiver goes away.
pub(super) fn get(outgoing: Outgoing, share: Share) -> mpsc::Receiver<std::result::Result<v1::GetResponse, Status>> {
    let (messages, receiver) = mpsc::channel(WAITING_MESSAGES);
    tokio::spawn(async move {
        let started = Instant::now();
        let chunks = outgoing.manifest().chunks.len();
        match send_all(outgoing, share, &messages).await {
            Ok(payload_bytes) => {
                let millis = started.elapsed().as_millis();
                tracing::info!(chunks, payload_bytes, millis, "get over gRPC");
            }
            Err(error) => {
                tracing::warn!(chunks, %error, "get over gRPC failed");
                // The receiver may have gone, which is why it failed.
                let _ = messages.send(Err(error.into())).await;
            }
        }
    });
    receiver
}

async fn send_all(
    outgoing: Outgoing,
    share: Share,
    messages: &mpsc::Sender<std::result::Result<v1::GetResponse, Status>>,
) -> Result<u64> {
    let outgoing = Arc::new(outgoing);
    let send = async |message| {
        let gone = |_| Error::new(kvdepot_proto::ErrorKind::Unavailable, "the receiver has gone");
        messages.send(Ok(v1::GetResponse { message: Some(message) })).await.map_err(gone)
    };
    send(get_response::Message::Manifest(outgoing.manifest().into())).await?;
    let mut payload_bytes = 0;
    let mut sender = share.of(outgoing.manifest());
    while let Some((batch, segments)) = sender.next_batch(&outgoing.contents()) {
        for (chunk_idx, keys) in by_chunk(&segments) {
            let reader = Arc::clone(&outgoing);
            for segment in blocking(move || reader.read_segments(chunk_idx, &keys)).await? {
                payload_bytes += segment.bytes.len() as u64;
                for piece in pieces(chunk_idx, &segment) {
                    send(get_response::Message::Piece(piece)).await?;
                }
            }
        }
        sender.sent(batch);
    }
    Ok(payload_bytes)
}

fn pieces(chunk_idx: u32, segment: &StoredSegment) -> impl Iterator<Item = v1::SegmentPiece> {
    segment.bytes.chunks(limits::PIECE_BYTES).map(move |piece| v1::SegmentPiece {
        chunk_idx,
        key: Some(segment.key.into()),
        payload: segment.bytes.slice_ref(piece),
    })
}
