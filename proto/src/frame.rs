//! Frames of the QUIC data plane, parsed without sockets or clock. What they mean is in `STREAM.md`.
//!
//! A frame is its body's length as u32 LE, a kind byte, and the body: a protobuf message of at most
//! [`MAX_MESSAGE_BYTES`](crate::limits::MAX_MESSAGE_BYTES), or [`MAX_NUMBERS_BYTES`](crate::limits::MAX_NUMBERS_BYTES).
//!
//! **Fetch**: the receiver opens a bidirectional stream and sends `Fetch`; the depot answers `Manifest`, sends the
//! segments on unidirectional streams, then ends the bidirectional one with `FetchDone`; meanwhile the receiver may send any
//! number of `Adjust`. **Put**: the sender opens a
//! bidirectional stream and sends `Announce`; the depot answers `Need`, the sender sends those chunks' segments on
//! unidirectional streams, and the depot ends with `Ack` after the commit. Either may end with `Failure` instead.
//!
//! A unidirectional stream carries one or more segments: for each a `Segment` frame, then exactly its `segment_bytes`
//! raw bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{Error, ErrorKind, Result, limits, v1};

const HEADER_BYTES: usize = 5;
/// Kind of [`Frame::Segment`].
const SEGMENT_KIND: u8 = 7;
/// Room that is made for a segment before its bytes have come.
const RESERVED_BYTES: usize = 4 << 20;

macro_rules! frames {
    ($($(#[$doc:meta])* $kind:literal $name:ident($body:ty) up to $limit:expr,)*) => {
        /// One frame.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Frame {
            $($(#[$doc])* $name($body),)*
        }

        impl Frame {
            /// Appends the frame to `out`.
            pub fn encode(&self, out: &mut BytesMut) {
                let (kind, body) = match self {
                    $(Self::$name(body) => ($kind, body.encode_to_vec()),)*
                };
                out.reserve(HEADER_BYTES.saturating_add(body.len()));
                out.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
                out.put_u8(kind);
                out.put_slice(&body);
            }

            fn decode(kind: u8, body: Bytes) -> Result<Self> {
                match kind {
                    $($kind => <$body>::decode(body).map(Self::$name).map_err(|error| malformed(kind, &error)),)*
                    _ => Err(unknown(kind)),
                }
            }

            /// Longest body of a frame of this kind.
            fn max_body_bytes(kind: u8) -> Result<usize> {
                match kind {
                    $($kind => Ok($limit),)*
                    _ => Err(unknown(kind)),
                }
            }

            /// Name of the kind of frame.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }
        }
    };
}

frames! {
    /// Asks for the longest stored prefix of a token sequence, or for the chain that ends in a chunk.
    1 Fetch(v1::FetchRequest) up to limits::MAX_MESSAGE_BYTES,
    /// What the answer consists of.
    2 Manifest(v1::Manifest) up to limits::MAX_MESSAGE_BYTES,
    /// Everything of the manifest was written.
    3 FetchDone(v1::FetchDone) up to limits::MAX_NUMBERS_BYTES,
    /// What a put consists of.
    4 Announce(v1::PutAnnounce) up to limits::MAX_MESSAGE_BYTES,
    /// Which chunks of it to send.
    5 Need(v1::PutNeed) up to limits::MAX_MESSAGE_BYTES,
    /// The put is committed.
    6 Ack(v1::PutAck) up to limits::MAX_MESSAGE_BYTES,
    /// The bytes of a segment follow.
    7 Segment(v1::SegmentStart) up to limits::MAX_NUMBERS_BYTES,
    /// The request failed.
    8 Failure(v1::Failure) up to limits::MAX_MESSAGE_BYTES,
    /// The receiver wants less.
    9 Adjust(v1::Adjust) up to limits::MAX_NUMBERS_BYTES,
    /// Opens a local connection.
    16 Hello(v1::Hello) up to limits::MAX_LOAN_BYTES,
    /// Segments in memory beside the frame.
    17 Lend(v1::Lend) up to limits::MAX_LOAN_BYTES,
    /// Their memory is free again.
    18 Taken(v1::Taken) up to limits::MAX_NUMBERS_BYTES,
}

impl Frame {
    /// The frame as bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }
}

impl From<&Error> for Frame {
    fn from(error: &Error) -> Self {
        Self::Failure(v1::Failure { kind: error.kind() as u32, message: error.to_string() })
    }
}

impl From<v1::Failure> for Error {
    fn from(failure: v1::Failure) -> Self {
        Self::new(ErrorKind::from_code(failure.kind), failure.message)
    }
}

/// Cuts a byte stream into frames. Holds no more than what was pushed and not yet taken.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: BytesMut,
}

impl FrameDecoder {
    /// Takes bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives the next whole frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// `Invalid` for a body that is too long or not the message that its kind says, `Incompatible` for an unknown kind.
    /// The stream is of no use afterwards.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let Some((kind, body_bytes)) = self.header() else { return Ok(None) };
        let limit = Frame::max_body_bytes(kind)?;
        if body_bytes > limit {
            return Err(Error::invalid(format!("frame of kind {kind} has {body_bytes} bytes, at most {limit}")));
        }
        if self.buffer.len().saturating_sub(HEADER_BYTES) < body_bytes {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        Frame::decode(kind, self.buffer.split_to(body_bytes).freeze()).map(Some)
    }

    /// Kind and length of the body of the next frame, once they are there.
    fn header(&self) -> Option<(u8, usize)> {
        let (&[a, b, c, d, kind], _) = self.buffer.split_first_chunk::<HEADER_BYTES>()?;
        Some((kind, u32::from_le_bytes([a, b, c, d]) as usize))
    }

    /// Whether no byte is left over: a stream that ends here ended between two frames.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// What a stream of segments says next.
#[derive(Debug, Clone, PartialEq)]
pub enum SegmentEvent {
    /// A segment begins. Check it against an [`Assembly`](crate::Assembly) before pushing on.
    Start(v1::SegmentStart),
    /// The bytes of the segment begun last, whole.
    End(Bytes),
}

/// Cuts a unidirectional stream into segments. Holds no more than what was pushed and not yet taken.
#[derive(Debug, Default)]
pub struct SegmentDecoder {
    frames: FrameDecoder,
    remaining: Option<usize>,
}

impl SegmentDecoder {
    /// Takes bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// Gives the next event, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// As [`FrameDecoder::next_frame`], and `Invalid` for another frame than `Segment` or a segment that is too large.
    pub fn next_event(&mut self) -> Result<Option<SegmentEvent>> {
        match self.remaining {
            Some(segment_bytes) if self.frames.buffer.len() < segment_bytes => Ok(None),
            Some(segment_bytes) => {
                self.remaining = None;
                Ok(Some(SegmentEvent::End(self.frames.buffer.split_to(segment_bytes).freeze())))
            }
            None => self.next_start(),
        }
    }

    /// Whether a stream that ends here ended between two segments.
    pub fn is_empty(&self) -> bool {
        self.remaining.is_none() && self.frames.is_empty()
    }

    fn next_start(&mut self) -> Result<Option<SegmentEvent>> {
        // Before its body is waited for: that of another kind may be long.
        if let Some((kind, _)) = self.frames.header().filter(|(kind, _)| *kind != SEGMENT_KIND) {
            return Err(Error::invalid(format!("frame of kind {kind} on a segment stream")));
        }
        let Some(Frame::Segment(start)) = self.frames.next_frame()? else { return Ok(None) };
        let (found, limit) = (start.segment_bytes, limits::MAX_SEGMENT_BYTES);
        let in_range = usize::try_from(found).ok().filter(|_| (1..=limit).contains(&found));
        let remaining = in_range.ok_or_else(|| Error::invalid(format!("segment of {found} bytes, at most {limit}")))?;
        self.remaining = Some(remaining);
        // Growing by doubling would copy most segments twice.
        self.frames.buffer.reserve(remaining.min(RESERVED_BYTES));
        Ok(Some(SegmentEvent::Start(start)))
    }
}

fn unknown(kind: u8) -> Error {
    Error::new(ErrorKind::Incompatible, format!("unknown frame kind {kind}"))
}

fn malformed(kind: u8, error: &prost::DecodeError) -> Error {
    Error::invalid(format!("body of frame kind {kind} is malformed: {error}"))
}
