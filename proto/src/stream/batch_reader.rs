//! The receiver's side of one stream of a fetch: what its bytes bring.

use super::{FetchReceiver, SegmentRef};
use crate::frame::{SegmentDecoder, SegmentEvent};
use crate::transport::NOT_WANTED_CODE;
use crate::{Error, ErrorKind, ReceivedSegment, Result, segment_key, v1};

/// Reads the segments of one batch. Holds no more than what was pushed and not yet taken.
#[derive(Debug)]
pub struct BatchReader {
    transfer_id: u64,
    decoder: SegmentDecoder,
    begun: Option<SegmentRef>,
}

/// What a batch brings next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchEvent {
    /// A segment that was announced, at its size; not verified.
    Segment(ReceivedSegment),
    /// The batch is of a fetch before this one, which wanted it no longer: the rest of the stream does not matter.
    Stale,
}

impl BatchReader {
    /// For a stream of the fetch `transfer_id`. Transfers of a connection are numbered upwards.
    pub fn new(transfer_id: u64) -> Self {
        Self { transfer_id, decoder: SegmentDecoder::default(), begun: None }
    }

    /// Takes bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Gives the next event, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// As [`SegmentDecoder::next_event`] and [`FetchReceiver::begin`]; `Invalid` for a transfer yet to come.
    pub fn next_event(&mut self, due: &mut FetchReceiver) -> Result<Option<BatchEvent>> {
        while let Some(event) = self.decoder.next_event()? {
            match (event, self.begun.take()) {
                (SegmentEvent::Start(start), _) if start.transfer_id < self.transfer_id => {
                    return Ok(Some(BatchEvent::Stale));
                }
                (SegmentEvent::Start(start), _) => self.begun = Some(self.begin(start, due)?),
                (SegmentEvent::End(bytes), Some(SegmentRef { chunk_idx, key })) => {
                    return Ok(Some(BatchEvent::Segment(ReceivedSegment { chunk_idx, key, bytes })));
                }
                (SegmentEvent::End(_), None) => return Err(Error::invalid("segment without a start")),
            }
        }
        Ok(None)
    }

    /// Takes note that the stream has ended.
    ///
    /// # Errors
    /// `Unavailable` when that is inside a segment.
    pub fn end(&self) -> Result<()> {
        match self.decoder.is_empty() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unavailable, "a stream ended inside a segment; try again")),
        }
    }

    /// Takes note that the stream was reset: with the code of what is not wanted, what is wanted is waited for all the same,
    /// for the batch may be of a fetch before this one.
    ///
    /// # Errors
    /// `Unavailable` for any other code.
    pub fn reset(&self, code: u64) -> Result<()> {
        match code == u64::from(NOT_WANTED_CODE) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unavailable, format!("a stream was reset with code {code}; try again"))),
        }
    }

    fn begin(&self, start: v1::SegmentStart, due: &mut FetchReceiver) -> Result<SegmentRef> {
        if start.transfer_id != self.transfer_id {
            let (found, expected) = (start.transfer_id, self.transfer_id);
            return Err(Error::invalid(format!("segment of transfer {found} in transfer {expected}")));
        }
        let segment = SegmentRef { chunk_idx: start.chunk_idx, key: segment_key(start.key)? };
        due.begin(segment, start.segment_bytes)?;
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kvdepot_codec::{Level, SegmentKey, Side};

    use super::*;
    use crate::frame::Frame;
    use crate::stream::{Held, Wants};
    use crate::{ChunkContent, SegmentEntry};

    const KEY: SegmentKey = SegmentKey { quality: 0, layer_group: 0, side: Side::K };

    fn due() -> FetchReceiver {
        let content = ChunkContent { level: Level::Q0, segments: vec![SegmentEntry { key: KEY, segment_bytes: 3 }] };
        FetchReceiver::new(&[&content], Wants::default(), &Held::default())
    }

    fn segment(transfer_id: u64) -> BytesMut {
        let mut bytes = BytesMut::new();
        let start = v1::SegmentStart { transfer_id, chunk_idx: 0, key: Some(KEY.into()), segment_bytes: 3 };
        Frame::Segment(start).encode(&mut bytes);
        bytes.extend_from_slice(b"abc");
        bytes
    }

    #[test]
    fn only_segments_of_this_fetch_are_taken() {
        let next = |transfer_id| {
            let mut batch = BatchReader::new(5);
            batch.push(&segment(transfer_id));
            batch.next_event(&mut due())
        };
        assert!(matches!(next(5), Ok(Some(BatchEvent::Segment(segment))) if segment.bytes == b"abc"[..]));
        assert_eq!(next(4), Ok(Some(BatchEvent::Stale)));
        assert_eq!(next(6).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_stream_that_ends_early_is_no_batch() {
        let (mut batch, mut due, bytes) = (BatchReader::new(5), due(), segment(5));
        assert_eq!(batch.end(), Ok(()));
        let (last, others) = bytes.split_last().unwrap();
        batch.push(others);
        assert_eq!(batch.next_event(&mut due), Ok(None));
        assert_eq!(batch.end().unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!((batch.reset(3), batch.reset(1).unwrap_err().kind()), (Ok(()), ErrorKind::Unavailable));
        batch.push(&[*last]);
        assert!(matches!(batch.next_event(&mut due), Ok(Some(BatchEvent::Segment(_)))));
    }
}
