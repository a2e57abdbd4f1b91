//! The bidirectional stream of a transfer: our request, then the depot's frames.

use std::time::Duration;

use kvdepot_proto::frame::{Frame, FrameDecoder};
use quinn::{RecvStream, SendStream};

use super::{Connection, broken};
use crate::{Error, ErrorKind, Result};

/// Most bytes taken from a stream at once.
pub(super) const READ_BYTES: usize = 256 << 10;

/// The depot's frames.
pub(super) struct Answers {
    stream: RecvStream,
    decoder: FrameDecoder,
}

impl Connection {
    /// Opens a stream and sends `request` on it; gives the stream, for more, and the answers.
    pub(super) async fn ask(&self, request: Frame) -> Result<(SendStream, Answers)> {
        let (mut send, stream) = self.connection.open_bi().await.map_err(broken)?;
        send.write_chunk(request.to_bytes()).await.map_err(broken)?;
        Ok((send, Answers { stream, decoder: FrameDecoder::default() }))
    }
}

impl Answers {
    /// The next frame. A failure that the depot reports is an error.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Frame> {
        loop {
            match self.decoder.next_frame()? {
                Some(Frame::Failure(failure)) => return Err(failure.into()),
                Some(frame) => return Ok(frame),
                None => {}
            }
            let read = self.stream.read_chunk(READ_BYTES, true).await.map_err(broken)?;
            let chunk = read.ok_or_else(|| broken("the depot ended the stream before its answer"))?;
            self.decoder.push(&chunk.bytes);
        }
    }

    /// Why another stream of the transfer broke: what the depot says about it, if it says so soon.
    pub(super) async fn reason(&mut self, error: Error) -> Error {
        const SOON: Duration = Duration::from_secs(1);
        if error.kind() != ErrorKind::Unavailable {
            return error;
        }
        match tokio::time::timeout(SOON, self.next()).await {
            Ok(Err(reason)) if reason.kind() != ErrorKind::Unavailable => reason,
            _ => error,
        }
    }
}

/// The error of a frame that is not due.
pub(super) fn unexpected(frame: &Frame, due: &str) -> Error {
    Error::invalid(format!("the depot sent a {} frame where {due} was due", frame.name()))
}
