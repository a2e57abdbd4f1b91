//! Schedules of a fetch.

use std::collections::{BTreeMap, HashSet};

use kvdepot_proto::ErrorKind;
use kvdepot_proto::stream::{BatchId, SegmentRef, SendOrder, Wants};
use kvdepot_proto::v1;

use crate::depot::{Depot, Lie, Stream};
use crate::dice::Dice;
use crate::for_each_seed;
use crate::receiver::{Ended, Receiver};
use crate::stored::{LEVELS, MAX_CHUNKS, Stored};
use crate::wire::Wire;

const ORDERS: [SendOrder; 4] =
    [SendOrder::Chunks, SendOrder::ChunksFromBack, SendOrder::BaseFirstFromBack, SendOrder::Layers];
/// Connections of a fetch that break at most.
const MAX_BREAKS: u64 = 5;
/// Far more steps than any schedule takes.
const MAX_STEPS: usize = 100_000;

/// What others do to the context while a connection is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Replaced,
    Shortened,
    Continued,
}

/// A fetch with everything around it.
struct World {
    dice: Dice,
    /// What was stored when the first manifest was sent.
    promised: Stored,
    stored: Stored,
    lie: Option<Lie>,
    receiver: Receiver,
    depot: Depot,
    requests: Wire,
    answers: Wire,
    streams: BTreeMap<BatchId, Stream>,
    /// Batches of which the receiver has all, and the depot does not know it yet.
    arrived: Vec<BatchId>,
    breaks: u64,
}

impl World {
    fn new(mut dice: Dice, lie: Option<Lie>) -> Self {
        let levels: Vec<_> = (0..dice.below(MAX_CHUNKS)).map(|_| dice.pick(&LEVELS)).collect();
        let stored = Stored::put(&levels, 0);
        let request = v1::FetchRequest {
            tokens: vec![1],
            order: v1::SendOrder::from(dice.pick(&ORDERS)).into(),
            ..v1::FetchRequest::default()
        };
        let wants = if dice.once_in(3) { draw_wants(&mut dice) } else { Wants::default() };
        let mut world = Self {
            promised: stored.clone(),
            receiver: Receiver::new(request, wants),
            depot: Depot::new(&stored, lie),
            stored,
            dice,
            lie,
            requests: Wire::default(),
            answers: Wire::default(),
            streams: BTreeMap::new(),
            arrived: Vec::new(),
            breaks: 0,
        };
        world.connect();
        world
    }

    /// A connection of its own for what is missing: nothing of the one before arrives any more.
    fn connect(&mut self) {
        self.depot = Depot::new(&self.stored, self.lie);
        (self.requests, self.answers) = (Wire::default(), Wire::default());
        (self.streams, self.arrived) = (BTreeMap::new(), Vec::new());
        self.requests.write(&self.receiver.connect(self.breaks).to_bytes());
        if self.receiver.manifest.is_none() {
            self.promised = self.stored.clone();
        }
    }

    /// Runs until the receiver has what it wants, or refuses what it gets.
    fn run(&mut self, change: Change) -> Ended {
        for _ in 0..MAX_STEPS {
            if self.receiver.has_ended() {
                return Ok(());
            }
            if self.breaks < MAX_BREAKS && self.dice.once_in(60) {
                if self.receiver.fetching.is_complete() {
                    return Ok(());
                }
                self.lose_connection(change);
            }
            self.step()?;
        }
        panic!("a fetch that does not end");
    }

    fn lose_connection(&mut self, change: Change) {
        self.breaks += 1;
        if self.dice.once_in(2) {
            self.stored = match change {
                Change::None => self.stored.clone(),
                Change::Replaced => self.stored.replaced(),
                Change::Shortened => self.stored.shortened(),
                Change::Continued => self.stored.continued(),
            };
        }
        let had: HashSet<SegmentRef> = self.receiver.sink.keys().copied().collect();
        self.connect();
        self.serve_requests();
        self.depot.send(&mut self.dice, &mut self.answers, &mut self.streams);
        if self.stored.manifest == self.promised.manifest {
            let again = self.depot.sent.iter().find(|segment| had.contains(segment));
            assert_eq!(again, None, "it was held");
        }
    }

    fn step(&mut self) -> Ended {
        match self.dice.below(12) {
            0 => self.serve_requests(),
            1 | 2 => self.depot.send(&mut self.dice, &mut self.answers, &mut self.streams),
            3 => {
                let bytes = self.answers.arrive(&mut self.dice);
                self.receiver.hear(&bytes)?;
            }
            4 if self.dice.once_in(4) => {
                let wants = draw_wants(&mut self.dice);
                self.receiver.adjust(wants, &mut self.requests);
            }
            // The receiver looks at nothing for a while: what the depot sends meanwhile is bounded.
            5 if self.dice.once_in(8) => (0..50).for_each(|_| {
                self.depot.send(&mut self.dice, &mut self.answers, &mut self.streams);
            }),
            6 => {
                if let Some(id) = self.arrived.pop() {
                    self.depot.acknowledge(id);
                }
            }
            _ => self.deliver()?,
        }
        Ok(())
    }

    fn serve_requests(&mut self) {
        let bytes = self.requests.arrive(&mut self.dice);
        self.depot.hear(&bytes, &mut self.answers, &mut self.streams);
    }

    /// Some bytes of any stream arrive.
    fn deliver(&mut self) -> Ended {
        let ids: Vec<BatchId> = self.streams.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = self.dice.pick(&ids);
        let stream = self.streams.get_mut(&id).unwrap();
        let was_reset = stream.reset.is_some();
        if self.receiver.receive(id, stream, &mut self.dice)? {
            self.streams.remove(&id);
            if !was_reset {
                self.arrived.push(id);
            }
        }
        Ok(())
    }

    /// What was handed over is what was promised, to the byte; where the fetch has ended, so is all that is wanted.
    fn check(&self, is_complete: bool) {
        for (segment, bytes) in &self.receiver.sink {
            assert!(self.promised.segments[segment] == bytes, "{segment:?} is not what was stored");
        }
        let Some(manifest) = &self.receiver.manifest else { return assert!(!is_complete) };
        assert!(**manifest == self.promised.manifest);
        let mut wanted = self.promised.segments.keys().filter(|segment| self.receiver.wants.wants(**segment));
        if is_complete {
            assert_eq!(wanted.find(|segment| !self.receiver.sink.contains_key(segment)), None, "it is wanted");
        }
    }
}

fn draw_wants(dice: &mut Dice) -> Wants {
    Wants::new(dice.below(MAX_CHUNKS + 1) as u32, dice.below(4) as u8)
}

#[test]
fn a_fetch_brings_what_is_wanted_to_the_byte_whatever_the_network_does() {
    let mut breaks = 0;
    for_each_seed(0..20_000, |mut dice| {
        let change = dice.pick(&[Change::None, Change::Continued]);
        let mut world = World::new(dice, None);
        let ended = world.run(change);
        assert_eq!(ended, Ok(()));
        world.check(true);
        breaks += world.breaks;
    });
    assert!(breaks > 0, "no connection broke");
}

#[test]
fn a_context_that_changes_between_connections_is_never_mixed() {
    let mut refused = 0;
    for_each_seed(0..10_000, |mut dice| {
        let change = dice.pick(&[Change::Replaced, Change::Shortened]);
        let mut world = World::new(dice, None);
        let ended = world.run(change);
        world.check(ended.is_ok());
        if let Err(error) = ended {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert!(world.stored.manifest != world.promised.manifest, "{error}");
            refused += 1;
        }
    });
    assert!(refused > 0, "nothing changed");
}

#[test]
fn a_lie_of_the_depot_ends_the_fetch_and_nothing_of_it_is_used() {
    let mut refused = [0; 4];
    for_each_seed(0..12_000, |mut dice| {
        let which = dice.below(4);
        let lie = [Lie::Corrupt, Lie::Twice, Lie::Unannounced, Lie::Shorter][which];
        let mut world = World::new(dice, Some(lie));
        let ended = world.run(Change::None);
        world.check(ended.is_ok());
        if let Err(error) = ended {
            let is_right = match lie {
                // A version that this build does not know.
                Lie::Corrupt => [ErrorKind::Corrupt, ErrorKind::Incompatible].contains(&error.kind()),
                Lie::Twice | Lie::Unannounced | Lie::Shorter => error.kind() == ErrorKind::Invalid,
            };
            assert!(is_right, "{lie:?}: {error}");
            refused[which] += 1;
        }
    });
    assert!(refused.iter().all(|count| *count > 0), "{refused:?}");
}
