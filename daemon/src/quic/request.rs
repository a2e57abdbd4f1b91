//! One request on a bidirectional stream.

use std::time::Instant;

use kvdepot_proto::frame::{Frame, FrameDecoder};
use kvdepot_proto::{Error, Result};
use quinn::{RecvStream, SendStream};

use super::connection::Session;
use super::fetch::Adjusts;
use super::frames::{read_frame, write_frame};
use super::{fetch, put};

/// Serves the request, answers with its outcome, and logs it.
pub(super) async fn serve(session: Session, (mut send, mut receive): (SendStream, RecvStream)) {
    let peer = session.connection.remote_address();
    let started = Instant::now();
    let outcome = answer(&session, &mut send, &mut receive).await;
    let millis = started.elapsed().as_millis();
    match &outcome {
        Ok(Frame::FetchDone(done)) => {
            tracing::info!(%peer, segments = done.segments, payload_bytes = done.payload_bytes, millis, "fetch");
        }
        Ok(Frame::Ack(ack)) => {
            let chunks = ack.chunk_ids.len();
            tracing::info!(%peer, chunks, new_chunks = ack.new_chunks, new_bytes = ack.new_bytes, millis, "put");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%peer, kind = ?error.kind(), %error, millis, "request failed"),
    }
    let last = outcome.unwrap_or_else(|error| Frame::from(&error));
    if let Err(error) = end_with(&mut send, last).await {
        tracing::debug!(%peer, %error, "no answer delivered");
    }
}

async fn answer(session: &Session, send: &mut SendStream, receive: &mut RecvStream) -> Result<Frame> {
    let mut decoder = FrameDecoder::default();
    match read_frame(receive, &mut decoder).await? {
        Some(Frame::Fetch(request)) => {
            let adjusts = Adjusts::new(receive, decoder);
            fetch::serve(session, send, adjusts, request).await.map(Frame::FetchDone)
        }
        Some(Frame::Announce(announce)) => put::serve(session, send, announce).await.map(Frame::Ack),
        Some(other) => Err(Error::invalid(format!("request with frame {}", other.name()))),
        None => Err(Error::invalid("stream without a request")),
    }
}

/// Writes the last frame and waits until the peer has it, so that a stop does not overtake it.
async fn end_with(send: &mut SendStream, frame: Frame) -> Result<()> {
    write_frame(send, frame).await?;
    send.finish().map_err(super::frames::gone)?;
    send.stopped().await.map_err(super::frames::gone)?;
    Ok(())
}
