//! The receiver's end of a fetch, over all its connections: what the client does between its streams and its sink.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kvdepot_proto::frame::{Frame, FrameDecoder};
use kvdepot_proto::stream::{BatchEvent, BatchId, BatchReader, Begun, FetchReceiver, Fetching, SegmentRef, Wants};
use kvdepot_proto::{Error, Manifest, Result, v1};

use crate::depot::Stream;
use crate::dice::Dice;
use crate::wire::Wire;

pub(crate) struct Receiver {
    pub(crate) fetching: Fetching,
    pub(crate) wants: Wants,
    /// The manifest as it was handed over.
    pub(crate) manifest: Option<Arc<Manifest>>,
    /// The segments that were handed over.
    pub(crate) sink: HashMap<SegmentRef, Bytes>,
    connection: Connection,
}

/// What goes with a connection.
struct Connection {
    transfer_id: u64,
    answers: FrameDecoder,
    due: Option<FetchReceiver>,
    readers: BTreeMap<BatchId, BatchReader>,
    is_done: bool,
}

impl Receiver {
    pub(crate) fn new(request: v1::FetchRequest, wants: Wants) -> Self {
        let fetching = Fetching::new(request, wants);
        Self { fetching, wants, manifest: None, sink: HashMap::new(), connection: Connection::new(0) }
    }

    /// Asks anew, over another connection.
    pub(crate) fn connect(&mut self, transfer_id: u64) -> Frame {
        self.connection = Connection::new(transfer_id);
        Frame::Fetch(self.fetching.request(transfer_id))
    }

    /// Whether all that is wanted has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.connection.is_done && self.connection.due.as_ref().is_some_and(FetchReceiver::is_complete)
    }

    /// Wants less from now on.
    pub(crate) fn adjust(&mut self, wants: Wants, requests: &mut Wire) {
        self.wants.adjust(wants.first_chunk(), wants.max_qualities());
        self.fetching.adjust(wants);
        if let Some(adjust) = self.connection.due.as_mut().and_then(|due| due.adjust(wants)) {
            requests.write(&Frame::Adjust(adjust).to_bytes());
        }
    }

    /// Takes bytes of the depot's answers.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Result<()> {
        self.connection.answers.push(bytes);
        while let Some(frame) = self.connection.answers.next_frame()? {
            match frame {
                Frame::Manifest(manifest) => {
                    let Begun { manifest, due, is_first } = self.fetching.begin(manifest.try_into()?)?;
                    assert_eq!(is_first, self.manifest.is_none(), "one manifest is handed over");
                    self.manifest = Some(manifest);
                    self.connection.due = Some(due);
                }
                Frame::FetchDone(_) => self.connection.is_done = true,
                Frame::Failure(failure) => return Err(failure.into()),
                other => panic!("{other:?} of a depot"),
            }
        }
        Ok(())
    }

    /// Takes what arrives of a batch; gives whether it has all of it.
    pub(crate) fn receive(&mut self, id: BatchId, stream: &mut Stream, dice: &mut Dice) -> Result<bool> {
        // Streams overtake the manifest: then they wait.
        let (Some(manifest), Some(due)) = (&self.manifest, &mut self.connection.due) else { return Ok(false) };
        let transfer_id = self.connection.transfer_id;
        let reader = self.connection.readers.entry(id).or_insert_with(|| BatchReader::new(transfer_id));
        if let Some(code) = stream.reset {
            return reader.reset(code).map(|()| true);
        }
        reader.push(&stream.wire.arrive(dice));
        while let Some(event) = reader.next_event(due)? {
            let BatchEvent::Segment(segment) = event else { panic!("no fetch came before on this connection") };
            manifest.verify(&segment)?;
            let name = SegmentRef::from(&segment);
            if due.finish(name) {
                self.fetching.hand_over(name);
                assert!(self.sink.insert(name, segment.bytes).is_none(), "{name:?} was handed over twice");
            }
        }
        if !(stream.wire.is_finished && stream.wire.is_empty()) {
            return Ok(false);
        }
        reader.end().map(|()| true)
    }
}

impl Connection {
    fn new(transfer_id: u64) -> Self {
        let (answers, readers) = (FrameDecoder::default(), BTreeMap::new());
        Self { transfer_id, answers, due: None, readers, is_done: false }
    }
}

/// The error of a receiver that ended a fetch.
pub(crate) type Ended = std::result::Result<(), Error>;
