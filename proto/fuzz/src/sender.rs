//! Any request and any adjusts: the depot sends what is wanted and not held, once, within its window.

use std::collections::{BTreeMap, HashSet};

use arbitrary::{Arbitrary, Unstructured};
use kvdepot_proto::stream::{BatchId, FetchSender, Held, SegmentRef, SendWindow, Share, Wants};
use kvdepot_proto::{Manifest, v1};

use super::content::{Chunk, manifest};

#[derive(Debug, Arbitrary)]
struct Input {
    chunks: Vec<Chunk>,
    order: i32,
    first_chunk: u32,
    max_qualities: u32,
    held: Vec<(u8, u64, Vec<u8>)>,
    window: (u8, u16),
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
enum Step {
    Send,
    Acknowledge(u8),
    /// Of a batch that may never have been sent.
    AcknowledgeAny(BatchId),
    Adjust {
        first_chunk: u32,
        max_qualities: u32,
    },
}

/// Serves a fetch.
pub fn sender(input: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let manifest = manifest(&input.chunks);
    let held = input.held.iter().map(|(chunk_idx, instance, bits)| {
        let chunk = manifest.chunks.get(usize::from(*chunk_idx));
        // Half of them of the instance that there is.
        let instance = chunk.filter(|_| instance % 2 == 0).map_or(*instance, |chunk| chunk.instance);
        v1::HeldChunk { chunk_idx: (*chunk_idx).into(), instance, segments: bits.clone() }
    });
    let request = v1::FetchRequest {
        order: input.order,
        first_chunk: input.first_chunk,
        max_qualities: input.max_qualities,
        held: held.collect(),
        ..v1::FetchRequest::default()
    };
    let Ok(share) = Share::try_from(&request) else { return };
    let wants = Wants::from_message(request.first_chunk, request.max_qualities).expect("the share was read");
    let held = Held::try_from(request.held.as_slice()).expect("the share was read").of(&manifest.chunks);
    let window = SendWindow { batches: usize::from(input.window.0).max(1), bytes: u64::from(input.window.1).max(1) };
    let sender = share.of(&manifest).within(window);
    let mut serving =
        Serving { manifest, held, wants, window, sender, under_way: BTreeMap::new(), sent: HashSet::new() };
    input.steps.iter().for_each(|step| serving.step(step));
    serving.finish();
}

struct Serving {
    manifest: Manifest,
    held: Held,
    wants: Wants,
    window: SendWindow,
    sender: FetchSender,
    under_way: BTreeMap<BatchId, Vec<SegmentRef>>,
    /// What was sent whole.
    sent: HashSet<SegmentRef>,
}

impl Serving {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send => _ = self.send(),
            Step::Acknowledge(nth) => {
                let id = self.under_way.keys().nth(usize::from(nth)).copied();
                id.into_iter().for_each(|id| self.acknowledge(id));
            }
            Step::AcknowledgeAny(id) if !self.under_way.contains_key(&id) => self.sender.sent(id),
            Step::AcknowledgeAny(id) => self.acknowledge(id),
            Step::Adjust { first_chunk, max_qualities } => {
                let Ok(wants) = Wants::from_message(first_chunk, max_qualities) else { return };
                self.wants.adjust(wants.first_chunk(), wants.max_qualities());
                let contents = self.manifest.contents();
                for id in self.sender.adjust(wants.first_chunk(), wants.max_qualities(), &contents) {
                    let reset = self.under_way.remove(&id).expect("a batch under way");
                    assert!(!reset.iter().any(|segment| self.wants.wants(*segment)), "it is wanted");
                }
            }
        }
    }

    fn send(&mut self) -> bool {
        let before = self.sender.bytes_under_way();
        let Some((id, segments)) = self.sender.next_batch(&self.manifest.contents()) else { return false };
        assert!(before < self.window.bytes && self.under_way.len() < self.window.batches, "beyond the window");
        assert!(!segments.is_empty());
        for segment in &segments {
            assert!(self.wants.wants(*segment) && !self.is_held(*segment), "{segment:?} is not due");
        }
        assert!(self.under_way.insert(id, segments).is_none(), "batch {id} twice");
        true
    }

    fn acknowledge(&mut self, id: BatchId) {
        self.sender.sent(id);
        for segment in self.under_way.remove(&id).into_iter().flatten() {
            assert!(self.sent.insert(segment), "{segment:?} was sent twice");
        }
    }

    /// Sends the rest.
    fn finish(&mut self) {
        while self.send() || !self.under_way.is_empty() {
            let first = self.under_way.keys().next().copied();
            first.into_iter().for_each(|id| self.acknowledge(id));
        }
        assert!(self.sender.is_done(&self.manifest.contents()));
        for (chunk_idx, chunk) in (0u32..).zip(&self.manifest.chunks) {
            for entry in &chunk.content.segments {
                let segment = SegmentRef { chunk_idx, key: entry.key };
                let is_due = self.wants.wants(segment) && !self.is_held(segment);
                assert!(!is_due || self.sent.contains(&segment), "{segment:?} was not sent");
            }
        }
    }

    fn is_held(&self, segment: SegmentRef) -> bool {
        let content = &self.manifest.chunks[segment.chunk_idx as usize].content;
        let position = content.segments.iter().position(|entry| entry.key == segment.key);
        self.held.has(segment.chunk_idx, position.expect("a segment of the manifest"))
    }
}
