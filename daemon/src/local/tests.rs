//! The local plane as a receiver sees it that need not keep to the protocol.

use std::path::PathBuf;

use kvdepot_codec::Level;
use kvdepot_local::SealedMemory;
use kvdepot_proto::ReceivedSegment;
use tempfile::{TempDir, tempdir};
use tokio::task::JoinHandle;

use super::*;
use crate::testing::*;

const TOKEN: &[u8] = b"shown by those who asked";

/// A depot that is served on this plane alone.
struct Plane {
    _dir: TempDir,
    socket: PathBuf,
    context: Context,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Plane {
    fn start(num_chunks: u32) -> Self {
        let dir = tempdir().unwrap();
        let test = open(&dir.path().join("store"), 0);
        let context = exact_context(tokens(1, num_chunks * CHUNK_TOKENS));
        put(&test.depot, &context).unwrap();
        let socket = dir.path().join("fetch.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (stop, stopping) = watch::channel(false);
        let served = tokio::spawn(serve(Arc::clone(&test.depot), listener, TOKEN.to_vec(), stopping));
        Self { _dir: dir, socket, context, stop, served }
    }

    async fn peer(&self) -> Peer {
        let (reader, writer) = halves(kvdepot_local::connect(&self.socket).await.unwrap());
        Peer { reader, writer }
    }

    /// A peer that has asked for the context.
    async fn asking(&self) -> Peer {
        let mut peer = self.peer().await;
        peer.say(Frame::Hello(v1::Hello { token: TOKEN.to_vec() })).await;
        peer.say(Frame::Fetch(fetch_request(&self.context, 0))).await;
        peer
    }

    /// Waits until all connections have ended.
    async fn stop(self) {
        self.stop.send_replace(true);
        self.served.await.unwrap();
    }
}

struct Peer {
    reader: FrameReader,
    writer: FrameWriter,
}

impl Peer {
    async fn say(&mut self, frame: Frame) {
        self.writer.write(&frame, &[]).await.unwrap();
    }

    async fn hear(&mut self) -> Frame {
        self.reader.next().await.unwrap().expect("a frame")
    }

    async fn failure(&mut self) -> kvdepot_proto::Error {
        match self.hear().await {
            Frame::Failure(failure) => failure.into(),
            other => panic!("expected a failure, got {}", other.name()),
        }
    }

    /// The segments of a loan.
    fn read(&mut self, lend: v1::Lend) -> Vec<ReceivedSegment> {
        let read = |start: v1::SegmentStart| {
            let memory = SealedMemory::received(self.reader.take_descriptor().unwrap(), start.segment_bytes).unwrap();
            let key = kvdepot_proto::segment_key(start.key).unwrap();
            ReceivedSegment { chunk_idx: start.chunk_idx, key, bytes: memory.read().unwrap() }
        };
        lend.segments.into_iter().map(read).collect()
    }

    /// Takes everything up to the end of the fetch.
    async fn take_all(&mut self) -> Vec<ReceivedSegment> {
        let mut segments = Vec::new();
        loop {
            match self.hear().await {
                Frame::Manifest(_) => {}
                Frame::Lend(lend) => {
                    segments.extend(self.read(lend));
                    // After the last loan the depot may have gone.
                    let _ = self.writer.write(&Frame::Taken(v1::Taken {}), &[]).await;
                }
                Frame::FetchDone(done) => {
                    assert_eq!(done.segments, segments.len() as u64);
                    return segments;
                }
                other => panic!("{} during a fetch", other.name()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_comes_whole_and_sealed() {
    let plane = Plane::start(5);
    for _ in 0..2 {
        assert_eq!(plane.asking().await.take_all().await, plane.context.segments);
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_told() {
    let plane = Plane::start(1);
    for token in [&b""[..], &TOKEN[1..], b"another"] {
        let mut peer = plane.peer().await;
        peer.say(Frame::Hello(v1::Hello { token: token.to_vec() })).await;
        assert_eq!(peer.failure().await.kind(), ErrorKind::Unavailable);
        assert_eq!(peer.reader.next().await.unwrap(), None, "the connection is closed");
    }
    let mut hasty = plane.peer().await;
    hasty.say(Frame::Fetch(fetch_request(&plane.context, 0))).await;
    assert_eq!(hasty.failure().await.kind(), ErrorKind::Invalid);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_of_another_scope_is_not_found() {
    let plane = Plane::start(2);
    let mut peer = plane.peer().await;
    peer.say(Frame::Hello(v1::Hello { token: TOKEN.to_vec() })).await;
    let other = context(kvdepot_proto::Scope { namespace: "other".to_owned(), ..scope() }, tokens(1, 64), Level::Q0);
    peer.say(Frame::Fetch(fetch_request(&other, 0))).await;
    assert!(matches!(peer.hear().await, Frame::Manifest(manifest) if manifest.chunks.is_empty()));
    assert_eq!(peer.take_all().await, []);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_take_nothing_or_vanish_hold_up_nobody() {
    let plane = Plane::start(40);
    let mut idle = plane.asking().await;
    let mut lent = 0;
    assert!(matches!(idle.hear().await, Frame::Manifest(_)));
    while lent < loans::MAX_LOANS {
        assert!(matches!(idle.hear().await, Frame::Lend(_)));
        lent += 1;
    }
    let mut vanishing = plane.asking().await;
    assert!(matches!(vanishing.hear().await, Frame::Manifest(_)));
    drop(vanishing);
    assert_eq!(plane.asking().await.take_all().await, plane.context.segments);
    drop(idle);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_sense_end_the_fetch_with_a_reason() {
    let plane = Plane::start(40);
    let taken_too_often = vec![Frame::Taken(v1::Taken {}); loans::MAX_LOANS + 1];
    for nonsense in [vec![Frame::Need(v1::PutNeed::default())], taken_too_often.clone()] {
        let mut peer = plane.asking().await;
        assert!(matches!(peer.hear().await, Frame::Manifest(_)));
        let mut writer = peer.writer;
        let said = tokio::spawn(async move {
            for frame in nonsense.into_iter().cycle().take(100_000) {
                // It may be refused already.
                if writer.write(&frame, &[]).await.is_err() {
                    return;
                }
            }
        });
        let error = loop {
            match peer.reader.next().await.unwrap().expect("an answer") {
                Frame::Lend(lend) => lend.segments.iter().for_each(|_| drop(peer.reader.take_descriptor().unwrap())),
                Frame::Failure(failure) => break kvdepot_proto::Error::from(failure),
                other => panic!("{} where a failure was due", other.name()),
            }
        };
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        said.await.unwrap();
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_no_more_does_not_come() {
    let plane = Plane::start(40);
    let mut peer = plane.asking().await;
    assert!(matches!(peer.hear().await, Frame::Manifest(_)));
    peer.say(Frame::Adjust(v1::Adjust { first_chunk: 40, max_qualities: 0 })).await;
    let segments = peer.take_all().await;
    assert!(segments.len() < plane.context.segments.len(), "{} came", segments.len());
    plane.stop().await;
}
