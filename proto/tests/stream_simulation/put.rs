//! Schedules of a put: announced, sent and acknowledged over connections that break.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use kvdepot_proto::frame::{Frame, FrameDecoder, SegmentDecoder, SegmentEvent};
use kvdepot_proto::stream::SegmentRef;
use kvdepot_proto::{Announce, Assembly, Scope, segment_key, v1};

use crate::dice::Dice;
use crate::for_each_seed;
use crate::stored::{LEVELS, MAX_CHUNKS, Stored, spec};
use crate::wire::Wire;

const MAX_BREAKS: u64 = 5;
const MAX_STEPS: usize = 100_000;

/// What survives the connections: what was committed, whole or not at all.
#[derive(Default)]
struct Store {
    committed: Option<HashMap<SegmentRef, Bytes>>,
}

/// The depot's end of a connection.
#[derive(Default)]
struct Depot {
    requests: FrameDecoder,
    due: Option<Assembly>,
    streams: Vec<Incoming>,
    staged: HashMap<SegmentRef, Bytes>,
    has_acknowledged: bool,
}

/// A stream of segments, and how far the depot has read it.
#[derive(Default)]
struct Incoming {
    wire: Wire,
    decoder: SegmentDecoder,
    begun: Option<SegmentRef>,
}

impl Depot {
    /// Takes bytes of the announcement, and says what is missing.
    fn hear(&mut self, bytes: &[u8], store: &Store, answers: &mut Wire) {
        self.requests.push(bytes);
        let Some(frame) = self.requests.next_frame().expect("sound frames") else { return };
        let Frame::Announce(announce) = frame else { panic!("{frame:?} of a sender") };
        let announce = Announce::try_from(announce).unwrap();
        let first_missing = if store.committed.is_some() { announce.contents.len() } else { 0 };
        self.due = Some(Assembly::new((0u32..).zip(&announce.contents).skip(first_missing)));
        let chunk_idx = (first_missing as u32..announce.contents.len() as u32).collect();
        answers.write(&Frame::Need(v1::PutNeed { chunk_idx }).to_bytes());
    }

    /// Takes some bytes of a stream.
    fn read(&mut self, idx: usize, dice: &mut Dice) {
        let (stream, due) = (&mut self.streams[idx], self.due.as_mut().expect("segments come after what is needed"));
        stream.decoder.push(&stream.wire.arrive(dice));
        while let Some(event) = stream.decoder.next_event().unwrap() {
            match event {
                SegmentEvent::Start(start) => {
                    let segment = SegmentRef { chunk_idx: start.chunk_idx, key: segment_key(start.key).unwrap() };
                    due.begin(segment.chunk_idx, segment.key, start.segment_bytes).unwrap();
                    stream.begun = Some(segment);
                }
                SegmentEvent::End(bytes) => {
                    self.staged.insert(stream.begun.take().expect("a segment that has begun"), bytes);
                    due.finish();
                }
            }
        }
    }

    /// Commits and acknowledges once everything is there.
    fn commit(&mut self, store: &mut Store, answers: &mut Wire) {
        if !self.has_acknowledged && self.due.as_ref().is_some_and(Assembly::is_complete) {
            store.committed.get_or_insert_with(|| std::mem::take(&mut self.staged));
            self.has_acknowledged = true;
            answers.write(&Frame::Ack(v1::PutAck::default()).to_bytes());
        }
    }
}

/// A put with everything around it.
struct World {
    dice: Dice,
    content: Stored,
    store: Store,
    depot: Depot,
    requests: Wire,
    answers: Wire,
    heard: FrameDecoder,
    breaks: u64,
}

impl World {
    fn new(mut dice: Dice) -> Self {
        let levels: Vec<_> = (0..1 + dice.below(MAX_CHUNKS - 1)).map(|_| dice.pick(&LEVELS)).collect();
        let mut world = Self {
            dice,
            content: Stored::put(&levels, 0),
            store: Store::default(),
            depot: Depot::default(),
            requests: Wire::default(),
            answers: Wire::default(),
            heard: FrameDecoder::default(),
            breaks: 0,
        };
        world.connect();
        world
    }

    /// Announces the put over a connection of its own: what the depot staged of the one before is gone.
    fn connect(&mut self) {
        (self.depot, self.heard) = (Depot::default(), FrameDecoder::default());
        (self.requests, self.answers) = (Wire::default(), Wire::default());
        let manifest = &self.content.manifest;
        let announce = Announce {
            scope: Scope { lossy: true, ..Scope::exact(spec()) },
            tokens: manifest.tokens.clone(),
            contents: manifest.contents().into_iter().cloned().collect(),
        };
        let announce = v1::PutAnnounce {
            scope: Some((&announce.scope).into()),
            tokens: announce.tokens,
            contents: announce.contents.iter().map(Into::into).collect(),
            transfer_id: self.breaks,
        };
        self.requests.write(&Frame::Announce(announce).to_bytes());
    }

    fn run(&mut self) {
        for _ in 0..MAX_STEPS {
            if self.breaks < MAX_BREAKS && self.dice.once_in(80) {
                self.breaks += 1;
                self.connect();
            }
            match self.dice.below(8) {
                0 => {
                    let bytes = self.requests.arrive(&mut self.dice);
                    self.depot.hear(&bytes, &self.store, &mut self.answers);
                }
                1 => self.depot.commit(&mut self.store, &mut self.answers),
                2 => {
                    let bytes = self.answers.arrive(&mut self.dice);
                    if self.hear(&bytes) {
                        return;
                    }
                }
                _ if self.depot.streams.is_empty() => {}
                _ => {
                    let idx = self.dice.below(self.depot.streams.len());
                    self.depot.read(idx, &mut self.dice);
                }
            }
            self.check();
        }
        panic!("a put that does not end");
    }

    /// Takes bytes of the depot's answers, and sends what it needs; gives whether the put is acknowledged.
    fn hear(&mut self, bytes: &[u8]) -> bool {
        self.heard.push(bytes);
        let mut is_acknowledged = false;
        while let Some(frame) = self.heard.next_frame().expect("sound frames") {
            match frame {
                Frame::Need(need) => self.send(&need.chunk_idx),
                Frame::Ack(_) => is_acknowledged = true,
                other => panic!("{other:?} of a depot"),
            }
        }
        is_acknowledged
    }

    /// Each chunk on a stream of its own.
    fn send(&mut self, missing: &[u32]) {
        for &chunk_idx in missing {
            let mut bytes = BytesMut::new();
            for entry in &self.content.manifest.chunks[chunk_idx as usize].content.segments {
                let (key, segment_bytes) = (Some(entry.key.into()), entry.segment_bytes);
                let start = v1::SegmentStart { transfer_id: self.breaks, chunk_idx, key, segment_bytes };
                Frame::Segment(start).encode(&mut bytes);
                bytes.extend_from_slice(&self.content.segments[&SegmentRef { chunk_idx, key: entry.key }]);
            }
            let mut stream = Incoming::default();
            stream.wire.write(&bytes);
            self.depot.streams.push(stream);
        }
    }

    /// Nothing is visible, or all of it.
    fn check(&self) {
        assert!(self.store.committed.as_ref().is_none_or(|committed| *committed == self.content.segments));
    }
}

#[test]
fn a_put_ends_acknowledged_and_whole_whatever_the_network_does() {
    let (mut breaks, mut lost_acknowledgements) = (0, 0);
    for_each_seed(0..10_000, |dice| {
        let mut world = World::new(dice);
        world.run();
        world.check();
        assert!(world.store.committed.is_some(), "it was acknowledged");
        breaks += world.breaks;
        lost_acknowledgements += usize::from(world.depot.staged.is_empty() && world.depot.streams.is_empty());
    });
    assert!(breaks > 0 && lost_acknowledgements > 0, "{breaks} breaks, {lost_acknowledgements} lost acknowledgements");
}
