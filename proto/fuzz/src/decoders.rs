//! Streams of any bytes: the same frames or the same error, however they are cut.

use bytes::Bytes;
use kvdepot_proto::frame::{Frame, FrameDecoder, SegmentDecoder, SegmentEvent};
use kvdepot_proto::stream::{Share, Wants};
use kvdepot_proto::{Announce, ErrorKind, Manifest, segment_key};

/// What a stream came to: what was decoded, the error, and whether it ended between two of them.
type Outcome<T> = (Vec<T>, Option<ErrorKind>, bool);

/// Cuts the bytes after the first into frames, in pieces of the length that the first says, and reads each frame as whoever
/// receives it.
pub fn frames(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let cut = decode_frames(bytes, usize::from(*cut).max(1));
    assert!(decode_frames(bytes, bytes.len().max(1)) == cut, "another cut, other frames");
    let mut again = FrameDecoder::default();
    for encoded in cut.0 {
        again.push(&encoded);
        let frame = again.next_frame().ok().flatten().expect("what was decoded can be encoded");
        assert!(frame.to_bytes() == encoded && again.is_empty(), "{frame:?} changed");
        read(&frame);
    }
}

/// The frames, encoded again: they may have NaN in them, which equals nothing.
fn decode_frames(bytes: &[u8], cut: usize) -> Outcome<Bytes> {
    let (mut decoder, mut frames) = (FrameDecoder::default(), Vec::new());
    for piece in bytes.chunks(cut) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_bytes()),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.kind()), false),
            }
        }
    }
    (frames, None, decoder.is_empty())
}

/// Turns a frame into what it means, or refuses it.
fn read(frame: &Frame) {
    match frame.clone() {
        Frame::Fetch(request) => drop(Share::try_from(&request)),
        Frame::Manifest(manifest) => drop(Manifest::try_from(manifest)),
        Frame::Announce(announce) => drop(Announce::try_from(announce)),
        Frame::Adjust(adjust) => drop(Wants::from_message(adjust.first_chunk, adjust.max_qualities)),
        Frame::Segment(start) => drop(segment_key(start.key)),
        Frame::Failure(failure) => drop(kvdepot_proto::Error::from(failure)),
        Frame::Lend(lend) => lend.segments.into_iter().for_each(|start| drop(segment_key(start.key))),
        Frame::FetchDone(_) | Frame::Need(_) | Frame::Ack(_) | Frame::Hello(_) | Frame::Taken(_) => {}
    }
}

/// Cuts the bytes after the first into segments, in pieces of the length that the first says.
pub fn segments(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let cut = decode_segments(bytes, usize::from(*cut).max(1));
    assert!(decode_segments(bytes, bytes.len().max(1)) == cut, "another cut, other segments");
    for pair in cut.0.chunks(2) {
        let SegmentEvent::Start(start) = &pair[0] else { panic!("{pair:?} begins with an end") };
        if let Some(SegmentEvent::End(bytes)) = pair.get(1) {
            assert_eq!(bytes.len() as u64, start.segment_bytes);
        }
    }
}

fn decode_segments(bytes: &[u8], cut: usize) -> Outcome<SegmentEvent> {
    let (mut decoder, mut events) = (SegmentDecoder::default(), Vec::new());
    for piece in bytes.chunks(cut) {
        decoder.push(piece);
        loop {
            match decoder.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error.kind()), false),
            }
        }
    }
    (events, None, decoder.is_empty())
}
