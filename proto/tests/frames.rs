//! Frames survive any cut of the stream, and hostile bytes end in an error and hold no more than was sent.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use kvdepot_codec::{Level, SegmentKey, Side};
use kvdepot_proto::frame::{Frame, FrameDecoder, SegmentDecoder, SegmentEvent};
use kvdepot_proto::{Assembly, ChunkContent, ErrorKind, PieceAssembly, SegmentEntry, limits, v1};
use proptest::prelude::*;

const KEY: SegmentKey = SegmentKey { quality: 0, layer_group: 3, side: Side::V };

fn content(segment_bytes: u64) -> ChunkContent {
    ChunkContent { level: Level::Q0, segments: vec![SegmentEntry { key: KEY, segment_bytes }] }
}

fn start(segment_bytes: u64) -> v1::SegmentStart {
    v1::SegmentStart { transfer_id: 9, chunk_idx: 1, key: Some(KEY.into()), segment_bytes }
}

fn segment_stream(payloads: &[Vec<u8>]) -> Bytes {
    let mut out = BytesMut::new();
    for payload in payloads {
        Frame::Segment(start(payload.len() as u64)).encode(&mut out);
        out.extend_from_slice(payload);
    }
    out.freeze()
}

proptest! {
    #[test]
    fn frames_survive_any_cut(tokens in prop::collection::vec(any::<u32>(), 0..300), cut in 1usize..50) {
        let sent = vec![
            Frame::Fetch(v1::FetchRequest { tokens, transfer_id: 4, ..Default::default() }),
            Frame::FetchDone(v1::FetchDone { segments: 2, payload_bytes: 77 }),
            Frame::Failure(v1::Failure { kind: 6, message: "quota".to_owned() }),
        ];
        let mut stream = BytesMut::new();
        sent.iter().for_each(|frame| frame.encode(&mut stream));
        let (mut decoder, mut received) = (FrameDecoder::default(), Vec::new());
        for piece in stream.chunks(cut) {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                received.push(frame);
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert!(decoder.is_empty());
    }

    #[test]
    fn segments_survive_any_cut(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 1..5), cut in 1usize..100
    ) {
        let (mut decoder, mut received) = (SegmentDecoder::default(), Vec::new());
        for piece in segment_stream(&payloads).chunks(cut) {
            decoder.push(piece);
            while let Some(event) = decoder.next_event().unwrap() {
                if let SegmentEvent::End(bytes) = event {
                    received.push(bytes.to_vec());
                }
            }
        }
        prop_assert_eq!(received, payloads);
        prop_assert!(decoder.is_empty());
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut frames, mut segments) = (FrameDecoder::default(), SegmentDecoder::default());
        frames.push(&bytes);
        segments.push(&bytes);
        while let Ok(Some(_)) = frames.next_frame() {}
        while let Ok(Some(_)) = segments.next_event() {}
    }
}

#[test]
fn a_stream_that_ends_inside_a_segment_is_not_empty() {
    let stream = segment_stream(&[vec![1; 100]]);
    let mut decoder = SegmentDecoder::default();
    decoder.push(&stream[..stream.len() - 1]);
    assert!(matches!(decoder.next_event(), Ok(Some(SegmentEvent::Start(_)))));
    assert_eq!(decoder.next_event(), Ok(None));
    assert!(!decoder.is_empty());
}

#[test]
fn oversized_frames_and_segments_are_refused_before_their_bytes_come() {
    let mut frames = FrameDecoder::default();
    frames.push(&[0xff, 0xff, 0xff, 0xff, 1]);
    assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::Invalid);
    let adjust_of_65_bytes = [65, 0, 0, 0, 9];
    let mut frames = FrameDecoder::default();
    frames.push(&adjust_of_65_bytes);
    assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::Invalid);
    for size in [0, limits::MAX_SEGMENT_BYTES + 1, u64::MAX] {
        let mut segments = SegmentDecoder::default();
        segments.push(&Frame::Segment(start(size)).to_bytes());
        assert_eq!(segments.next_event().unwrap_err().kind(), ErrorKind::Invalid, "{size}");
    }
}

#[test]
fn unknown_frames_and_frames_out_of_place_are_refused() {
    let mut frames = FrameDecoder::default();
    frames.push(&[0, 0, 0, 0, 200]);
    assert_eq!(frames.next_frame().unwrap_err().kind(), ErrorKind::Incompatible);
    let mut segments = SegmentDecoder::default();
    segments.push(&[0, 0, 0, 1, 5]);
    assert_eq!(segments.next_event().unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_segment_is_accepted_once_and_at_its_announced_size() {
    let mut assembly = Assembly::new([(1, &content(10))]);
    assert_eq!(assembly.begin(0, KEY, 10).unwrap_err().kind(), ErrorKind::Invalid);
    assembly.begin(1, KEY, 10).unwrap();
    assert!(assembly.begin(1, KEY, 10).is_err(), "twice");
    assert!(!assembly.is_complete());
    assembly.finish();
    assert!(assembly.is_complete());
    assert!(Assembly::new([(1, &content(10))]).begin(1, KEY, 11).is_err(), "another size");
}

#[test]
fn pieces_make_segments_and_overruns_are_refused() {
    let piece = |payload: &'static [u8]| v1::SegmentPiece {
        chunk_idx: 0,
        key: Some(KEY.into()),
        payload: Bytes::from_static(payload),
    };
    let mut pieces = PieceAssembly::new(Assembly::new([(0, &content(5))]));
    assert_eq!(pieces.push(piece(b"abc")), Ok(None));
    assert_eq!(pieces.push(piece(b"de")).unwrap().unwrap().bytes, b"abcde"[..]);
    assert!(pieces.is_complete());
    let mut pieces = PieceAssembly::new(Assembly::new([(0, &content(5))]));
    assert!(pieces.push(piece(b"abcdef")).is_err());
}

#[test]
fn hostile_manifests_are_refused() {
    let chunk = |start_token, num_tokens| v1::ChunkEntry {
        id: vec![0; 32],
        start_token,
        num_tokens,
        content: Some((&content(5)).into()),
        instance: 1,
    };
    assert!(kvdepot_proto::ChunkEntry::try_from(chunk(0, 0)).is_err());
    let unknown_level = v1::ChunkContent { level: 77, ..(&content(5)).into() };
    assert_eq!(ChunkContent::try_from(unknown_level).unwrap_err().kind(), ErrorKind::Incompatible);
    let mut twice: v1::ChunkContent = (&content(5)).into();
    twice.segments.push(twice.segments[0]);
    assert!(ChunkContent::try_from(twice).is_err());
    assert!(ChunkContent::try_from(v1::ChunkContent { level: 0, segments: Vec::new() }).is_err());
}

/// Q3 content with a segment per `(quality, side)` of layer group 0.
fn layered(qualities: &[(u32, Side)]) -> v1::ChunkContent {
    let entry = |&(quality, side): &(u32, Side)| {
        let key = v1::SegmentKey { quality, ..SegmentKey { quality: 0, layer_group: 0, side }.into() };
        v1::SegmentEntry { key: Some(key), segment_bytes: 5 }
    };
    v1::ChunkContent { level: Level::Q3 as u32, segments: qualities.iter().map(entry).collect() }
}

#[test]
fn quality_layers_begin_with_the_base_and_have_no_gap() {
    use Side::{K, V};
    let refusal = |qualities: &[(u32, Side)]| ChunkContent::try_from(layered(qualities)).unwrap_err();
    for (qualities, words) in [
        (&[(0, K), (1, V)][..], "quality layer 1 of V of layer group 0 without layer 0 below it"),
        (&[(2, K), (0, K), (0, V)], "quality layer 2 of K of layer group 0 without layer 1 below it"),
        (&[(0, V), (1, V), (2, V)], "level q3 has 2"),
        (&[(0, K), (256, K)], "out of range"),
    ] {
        let error = refusal(qualities);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(words), "{error}");
    }
    let leading = ChunkContent::try_from(layered(&[(1, K), (0, V), (0, K)])).unwrap();
    let partial = leading.check_all_qualities().unwrap_err();
    assert_eq!(
        partial.to_string(),
        "K of layer group 0 has 2 of 3 quality layers: all of level q3 are put together",
        "leading layers may be fetched, and not put"
    );
    let whole = ChunkContent::try_from(layered(&[(0, K), (0, V), (1, K), (1, V), (2, K)])).unwrap();
    assert_eq!(whole.check_all_qualities(), Ok(()));
}
