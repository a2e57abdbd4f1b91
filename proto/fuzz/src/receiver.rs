//! Any answers of a depot: a receiver takes what was announced, once, and refuses the rest.

use std::collections::HashSet;

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use kvdepot_codec::{SegmentKey, Side};
use kvdepot_proto::frame::Frame;
use kvdepot_proto::stream::{BatchEvent, BatchReader, Begun, FetchReceiver, Fetching, SegmentRef, Wants};
use kvdepot_proto::{Manifest, v1};

use super::content::{Chunk, manifest};

const TRANSFER_ID: u64 = 7;

#[derive(Debug, Arbitrary)]
struct Input {
    chunks: Vec<Chunk>,
    first_chunk: u32,
    max_qualities: u8,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    /// A segment whose name and size may be wrong, in pieces, on a stream that may end within it.
    Segment {
        transfer: i8,
        chunk_idx: u8,
        key: (u8, u8, bool),
        extra_bytes: i8,
        cut: u8,
        missing: u8,
    },
    Reset(u64),
    Adjust {
        first_chunk: u32,
        max_qualities: u8,
    },
    /// A connection that begins with this manifest, or with the same.
    Connect(Option<Vec<Chunk>>),
}

/// Receives a fetch up to the first error.
pub fn receiver(input: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let manifest = manifest(&input.chunks);
    let mut fetching = Fetching::new(v1::FetchRequest::default(), Wants::new(input.first_chunk, input.max_qualities));
    let Begun { due, is_first, .. } = fetching.begin(manifest.clone()).expect("the first one is taken");
    assert!(is_first);
    let mut receiving = Receiving { manifest, fetching, due, taken: HashSet::new() };
    for step in &input.steps {
        if receiving.step(step).is_none() {
            return;
        }
    }
    receiving.check();
}

struct Receiving {
    manifest: Manifest,
    fetching: Fetching,
    due: FetchReceiver,
    /// What was handed over.
    taken: HashSet<SegmentRef>,
}

impl Receiving {
    /// `None` after an error.
    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Segment { transfer, chunk_idx, key: (quality, layer_group, is_key), extra_bytes, cut, missing } => {
                let side = if *is_key { Side::K } else { Side::V };
                let key = SegmentKey { quality: *quality, layer_group: (*layer_group).into(), side };
                let segment = SegmentRef { chunk_idx: (*chunk_idx).into(), key };
                let segment_bytes = self.bytes_of(segment).unwrap_or(5).saturating_add_signed((*extra_bytes).into());
                let start = v1::SegmentStart {
                    transfer_id: TRANSFER_ID.saturating_add_signed((*transfer).into()),
                    chunk_idx: segment.chunk_idx,
                    key: Some(key.into()),
                    segment_bytes,
                };
                let mut bytes = BytesMut::new();
                Frame::Segment(start).encode(&mut bytes);
                bytes.resize(bytes.len() + segment_bytes as usize, 0xa5);
                bytes.truncate(bytes.len().saturating_sub((*missing).into()));
                self.stream(&bytes, usize::from(*cut).max(1))
            }
            Step::Reset(code) => BatchReader::new(TRANSFER_ID).reset(*code).ok(),
            Step::Adjust { first_chunk, max_qualities } => {
                let wants = Wants::new(*first_chunk, *max_qualities);
                self.fetching.adjust(wants);
                self.due.adjust(wants);
                Some(())
            }
            Step::Connect(other) => {
                let answer = other.as_deref().map_or_else(|| self.manifest.clone(), manifest);
                let is_same = answer == self.manifest;
                let begun = self.fetching.begin(answer);
                assert_eq!(begun.is_ok(), is_same);
                self.due = begun.ok()?.due;
                Some(())
            }
        }
    }

    fn stream(&mut self, bytes: &[u8], cut: usize) -> Option<()> {
        let mut batch = BatchReader::new(TRANSFER_ID);
        for piece in bytes.chunks(cut) {
            batch.push(piece);
            while let Some(event) = batch.next_event(&mut self.due).ok()? {
                let BatchEvent::Segment(segment) = event else { return Some(()) };
                assert!(self.manifest.verify(&segment).is_err(), "no encoder wrote that");
                // Taken all the same: what is looked for is in the bookkeeping.
                let name = SegmentRef::from(&segment);
                assert_eq!(self.bytes_of(name), Some(segment.bytes.len() as u64), "{name:?} was not announced so");
                if self.due.finish(name) {
                    self.fetching.hand_over(name);
                    assert!(self.taken.insert(name), "{name:?} came twice");
                }
            }
        }
        batch.end().ok()
    }

    /// All that is wanted is handed over or is waited for, also on the next connection.
    fn check(&mut self) {
        let is_complete = self.due.is_complete();
        assert_eq!(is_complete, self.fetching.is_complete());
        let due = self.fetching.begin(self.manifest.clone()).expect("it is the same").due;
        assert_eq!(due.wanted().count(), self.due.wanted().count());
        assert!(due.wanted().all(|(segment, _)| !self.taken.contains(&segment)));
    }

    fn bytes_of(&self, SegmentRef { chunk_idx, key }: SegmentRef) -> Option<u64> {
        let content = &self.manifest.chunks.get(chunk_idx as usize)?.content;
        content.segments.iter().find(|entry| entry.key == key).map(|entry| entry.segment_bytes)
    }
}
