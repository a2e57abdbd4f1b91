//! Put over the control plane: the announcement, then the missing segments in pieces.

use bytes::Bytes;
use kvdepot_proto::{limits, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use v1::put_request::Message;

use super::Sending;
use crate::{Result, control::Control};

/// Pieces that wait for the network.
const QUEUED_PIECES: usize = 8;

pub(super) async fn put(control: &Control, announce: v1::PutAnnounce, sending: &mut Sending<'_>) -> Result<v1::PutAck> {
    let (queue, messages) = mpsc::channel(QUEUED_PIECES);
    let mut depot = control.depot();
    let call = async {
        let response = depot.put(ReceiverStream::new(messages)).await;
        response.map(tonic::Response::into_inner).map_err(|status| control.failure(status))
    };
    tokio::pin!(call);
    tokio::select! {
        biased;
        answered = &mut call => answered,
        fed = feed(control, queue, announce, sending) => {
            fed?;
            control.within("the commit", call).await
        }
    }
}

/// Queues everything that is to be sent. Ends early, and well, when the call has ended: its answer says why.
async fn feed(
    control: &Control,
    queue: mpsc::Sender<v1::PutRequest>,
    announce: v1::PutAnnounce,
    sending: &mut Sending<'_>,
) -> Result<()> {
    let enqueue = async |message| {
        let send = async { Ok(queue.send(v1::PutRequest { message: Some(message) }).await.is_ok()) };
        control.within("room to send", send).await
    };
    if !enqueue(Message::Announce(announce)).await? {
        return Ok(());
    }
    for (chunk_idx, chunk) in sending.missing() {
        for segment in &chunk.segments {
            for piece in segment.bytes.chunks(limits::PIECE_BYTES) {
                let payload = Bytes::copy_from_slice(piece);
                let piece_bytes = payload.len();
                let message = v1::SegmentPiece { chunk_idx, key: Some(segment.key.into()), payload };
                if !enqueue(Message::Piece(message)).await? {
                    return Ok(());
                }
                sending.sent(piece_bytes);
            }
        }
    }
    Ok(())
}
