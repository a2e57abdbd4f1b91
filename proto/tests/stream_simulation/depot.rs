//! The depot's end of one connection: answers a fetch as the daemon does.

use std::collections::BTreeMap;

use bytes::BytesMut;
use kvdepot_proto::frame::{Frame, FrameDecoder};
use kvdepot_proto::stream::{BatchId, FetchSender, SegmentRef, SendWindow, Share, Wants};
use kvdepot_proto::{Error, ErrorKind, Manifest, v1};

use crate::dice::Dice;
use crate::stored::Stored;
use crate::wire::Wire;

/// So little may be under way that schedules reach the limit.
pub(crate) const WINDOW: SendWindow = SendWindow { batches: 3, bytes: 2000 };

/// What a depot, or the network, does wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A bit of a segment is another.
    Corrupt,
    /// A segment comes a second time.
    Twice,
    /// A segment is of a chunk that the manifest does not have.
    Unannounced,
    /// A segment is shorter than announced.
    Shorter,
}

/// A batch on its way.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) wire: Wire,
    /// What takes it back.
    pub(crate) reset: Option<u64>,
}

pub(crate) struct Depot {
    stored: Stored,
    lie: Option<Lie>,
    requests: FrameDecoder,
    fetch: Option<Serving>,
    /// Segments that were sent.
    pub(crate) sent: Vec<SegmentRef>,
}

struct Serving {
    transfer_id: u64,
    manifest: Manifest,
    sender: FetchSender,
    is_done: bool,
}

impl Depot {
    pub(crate) fn new(stored: &Stored, lie: Option<Lie>) -> Self {
        Self { stored: stored.clone(), lie, requests: FrameDecoder::default(), fetch: None, sent: Vec::new() }
    }

    /// Takes bytes of the request's stream and answers; resets the batches that are not wanted any more.
    pub(crate) fn hear(&mut self, bytes: &[u8], answers: &mut Wire, streams: &mut BTreeMap<BatchId, Stream>) {
        self.requests.push(bytes);
        while let Some(frame) = self.requests.next_frame().expect("sound frames") {
            match frame {
                Frame::Fetch(request) => match self.begin(&request) {
                    Ok(manifest) => answers.write(&Frame::Manifest((&manifest).into()).to_bytes()),
                    Err(error) => answers.write(&Frame::from(&error).to_bytes()),
                },
                Frame::Adjust(adjust) => self.adjust(&adjust, streams),
                other => panic!("{other:?} of a receiver"),
            }
        }
    }

    fn begin(&mut self, request: &v1::FetchRequest) -> Result<Manifest, Error> {
        let chunks = &self.stored.manifest.chunks;
        let num_chunks = match request.chunk_id.as_slice() {
            [] => chunks.len(),
            id => {
                let last = chunks.iter().position(|chunk| chunk.id.as_bytes() == id);
                1 + last.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such chunk"))?
            }
        };
        let manifest = self.stored.leading(num_chunks);
        let sender = Share::try_from(request)?.of(&manifest).within(WINDOW);
        let (transfer_id, sent) = (request.transfer_id, manifest.clone());
        self.fetch = Some(Serving { transfer_id, manifest, sender, is_done: false });
        Ok(sent)
    }

    fn adjust(&mut self, adjust: &v1::Adjust, streams: &mut BTreeMap<BatchId, Stream>) {
        let wants = Wants::from_message(adjust.first_chunk, adjust.max_qualities).unwrap();
        let Some(Serving { manifest, sender, .. }) = &mut self.fetch else { return };
        for id in sender.adjust(wants.first_chunk(), wants.max_qualities(), &manifest.contents()) {
            // The receiver may have all of it already.
            if let Some(stream) = streams.get_mut(&id) {
                *stream = Stream { reset: Some(3), ..Stream::default() };
            }
        }
    }

    /// Begins the next batch, or says that all was sent.
    pub(crate) fn send(&mut self, dice: &mut Dice, answers: &mut Wire, streams: &mut BTreeMap<BatchId, Stream>) {
        let Some(Serving { transfer_id, manifest, sender, is_done }) = &mut self.fetch else { return };
        let contents = manifest.contents();
        let before = sender.bytes_under_way();
        if let Some((id, segments)) = sender.next_batch(&contents) {
            assert!(before < WINDOW.bytes, "begun with {before} bytes under way");
            let mut stream = Stream::default();
            for segment in &segments {
                let bytes = &self.stored.segments[segment];
                let lie = self.lie.take_if(|_| dice.once_in(8));
                write_segment(&mut stream.wire, *transfer_id, *segment, bytes, lie, dice);
            }
            stream.wire.is_finished = true;
            self.sent.extend(segments);
            streams.insert(id, stream);
        } else if !*is_done && sender.is_done(&contents) {
            *is_done = true;
            answers.write(&Frame::FetchDone(v1::FetchDone::default()).to_bytes());
        }
        assert!(streams.values().filter(|stream| stream.reset.is_none()).count() <= WINDOW.batches);
    }

    /// Takes note that the receiver has all of a batch.
    pub(crate) fn acknowledge(&mut self, id: BatchId) {
        if let Some(fetch) = &mut self.fetch {
            fetch.sender.sent(id);
        }
    }
}

fn write_segment(
    wire: &mut Wire,
    transfer_id: u64,
    SegmentRef { chunk_idx, key }: SegmentRef,
    payload: &[u8],
    lie: Option<Lie>,
    dice: &mut Dice,
) {
    let (mut chunk_idx, mut payload) = (chunk_idx, payload.to_vec());
    match lie {
        Some(Lie::Corrupt) => {
            let at = dice.below(payload.len());
            payload[at] ^= 1 << dice.below(8);
        }
        Some(Lie::Unannounced) => chunk_idx += 100,
        Some(Lie::Shorter) => payload.truncate(payload.len() - 1),
        Some(Lie::Twice) | None => {}
    }
    let segment_bytes = payload.len() as u64;
    let start = v1::SegmentStart { transfer_id, chunk_idx, key: Some(key.into()), segment_bytes };
    let mut bytes = BytesMut::new();
    for _ in 0..if lie == Some(Lie::Twice) { 2 } else { 1 } {
        Frame::Segment(start).encode(&mut bytes);
        bytes.extend_from_slice(&payload);
    }
    wire.write(&bytes);
}
