//! Frames and segments over quinn's streams.

use bytes::BytesMut;
use kvdepot_codec::SegmentKey;
use kvdepot_proto::frame::{Frame, FrameDecoder};
use kvdepot_proto::{Error, ErrorKind, Result, v1};
use quinn::{RecvStream, SendStream, VarInt};

use super::close;
use crate::depot::StoredSegment;

/// Most bytes that are taken from a stream at once.
const READ_BYTES: usize = 1 << 20;

/// Reads the next frame; `None` when the stream ends before one.
pub(super) async fn read_frame(stream: &mut RecvStream, decoder: &mut FrameDecoder) -> Result<Option<Frame>> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(Some(frame));
        }
        match stream.read_chunk(READ_BYTES, true).await.map_err(gone)? {
            Some(chunk) => decoder.push(&chunk.bytes),
            None if decoder.is_empty() => return Ok(None),
            None => return Err(Error::invalid("the stream ends within a frame")),
        }
    }
}

/// Takes what has arrived next on a stream; `None` at its end.
pub(super) async fn read_some(stream: &mut RecvStream) -> Result<Option<bytes::Bytes>> {
    Ok(stream.read_chunk(READ_BYTES, true).await.map_err(gone)?.map(|chunk| chunk.bytes))
}

/// Writes one frame.
pub(super) async fn write_frame(stream: &mut SendStream, frame: Frame) -> Result<()> {
    stream.write_chunk(frame.to_bytes()).await.map_err(gone)
}

/// A stream of segments. Unless finished, it is reset: a stream that just ends would look whole.
pub(super) struct SegmentStream {
    stream: SendStream,
    finished: bool,
}

impl SegmentStream {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream, finished: false }
    }

    /// Writes one segment of the chunk at `chunk_idx` of the manifest.
    pub(super) async fn write(&mut self, transfer_id: u64, chunk_idx: u32, segment: StoredSegment) -> Result<()> {
        let mut head = BytesMut::new();
        start(transfer_id, chunk_idx, segment.key, segment.bytes.len() as u64).encode(&mut head);
        self.stream.write_all_chunks(&mut [head.freeze(), segment.bytes]).await.map_err(gone)
    }

    /// Ends the stream, and waits until the peer has all of it: until then it can still be reset.
    pub(super) async fn finish(&mut self) -> Result<()> {
        self.stream.finish().map_err(gone)?;
        self.stream.stopped().await.map_err(gone)?;
        self.finished = true;
        Ok(())
    }

    /// Takes back what the peer does not have yet.
    pub(super) fn reset(mut self, code: VarInt) {
        self.finished = true;
        // The peer may have all of it, or have stopped the stream.
        let _ = self.stream.reset(code);
    }
}

impl Drop for SegmentStream {
    fn drop(&mut self) {
        if !self.finished {
            // The peer may have stopped the stream already.
            let _ = self.stream.reset(close::TRANSFER_ENDED);
        }
    }
}

fn start(transfer_id: u64, chunk_idx: u32, key: SegmentKey, segment_bytes: u64) -> Frame {
    Frame::Segment(v1::SegmentStart { transfer_id, chunk_idx, key: Some(key.into()), segment_bytes })
}

/// The peer ended a stream or the connection.
pub(super) fn gone(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the peer has gone: {error}"))
}
