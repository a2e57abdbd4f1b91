//! One fetch: a request, a manifest, and loans of segments that are copied out and verified on other threads.

use std::sync::Arc;

use kvdepot_local::{FrameReader, FrameWriter, SealedMemory};
use kvdepot_proto::{
    Manifest, ReceivedSegment,
    frame::Frame,
    segment_key,
    stream::{FetchReceiver, SegmentRef, Wants},
    v1,
};
use tokio::{sync::watch, task::JoinSet};

use super::{Connection, next, unexpected};
use crate::{
    Error, ErrorKind, Result, Transport,
    control::within,
    fetch::{Delivery, stalled},
};

/// Loans that are copied out at a time; more stay with the depot.
const MAX_COPYING: usize = 2;

impl Connection {
    /// Fetches what is missing.
    pub(crate) async fn fetch(mut self, wants: &mut watch::Receiver<Wants>, delivery: &mut Delivery<'_>) -> Result<()> {
        let timeout = self.timeout;
        let manifest = within(timeout, "the manifest", self.ask(delivery.request(0))).await?;
        let (manifest, due) = delivery.begin(manifest, Transport::Local)?;
        let mut incoming = Incoming { manifest, due, writer: self.writer };
        let mut copying = JoinSet::new();
        let mut done = false;
        while !(done && copying.is_empty()) {
            tokio::select! {
                frame = next(&mut self.reader), if !done && copying.len() < MAX_COPYING => match frame? {
                    Frame::Lend(lend) => {
                        let (manifest, loan) = (Arc::clone(&incoming.manifest), incoming.begin(lend, &mut self.reader)?);
                        copying.spawn_blocking(move || copy_out(&manifest, loan));
                    }
                    Frame::FetchDone(_) => done = true,
                    other => return Err(unexpected(&other, "a loan")),
                },
                Some(copied) = copying.join_next() => {
                    let segments = copied.unwrap_or_else(|error| Err(panicked(&error)))?;
                    incoming.taken().await;
                    incoming.wanted(segments).try_for_each(|segment| delivery.segment(&segment))?;
                }
                Ok(()) = wants.changed(), if !done => {
                    let now = *wants.borrow_and_update();
                    delivery.adjust(now);
                    incoming.adjust(now).await;
                }
                () = tokio::time::sleep(timeout) => return Err(stalled(&incoming.due, timeout)),
            }
        }
        incoming.check_complete()
    }

    async fn ask(&mut self, request: v1::FetchRequest) -> Result<v1::Manifest> {
        self.writer.write(&Frame::Fetch(request), &[]).await?;
        match self.next().await? {
            Frame::Manifest(manifest) => Ok(manifest),
            other => Err(unexpected(&other, "a manifest")),
        }
    }
}

/// What is left to come of a fetch.
struct Incoming {
    manifest: Arc<Manifest>,
    due: FetchReceiver,
    writer: FrameWriter,
}

impl Incoming {
    /// The segments of a loan, with the memory that came beside it.
    fn begin(&mut self, lend: v1::Lend, reader: &mut FrameReader) -> Result<Vec<(SegmentRef, SealedMemory)>> {
        let begin = |start: v1::SegmentStart| {
            let segment = SegmentRef { chunk_idx: start.chunk_idx, key: segment_key(start.key)? };
            self.due.begin(segment, start.segment_bytes)?;
            Ok((segment, SealedMemory::received(reader.take_descriptor()?, start.segment_bytes)?))
        };
        lend.segments.into_iter().map(begin).collect()
    }

    /// Tells the depot that a loan's memory is free.
    async fn taken(&mut self) {
        self.say(Frame::Taken(v1::Taken {})).await;
    }

    /// Counts segments as arrived; gives those that are wanted.
    fn wanted(&mut self, segments: Vec<ReceivedSegment>) -> impl Iterator<Item = ReceivedSegment> {
        segments.into_iter().filter(|segment| self.due.finish(segment.into()))
    }

    /// Wants less, and says so to the depot.
    async fn adjust(&mut self, wants: Wants) {
        if let Some(adjust) = self.due.adjust(wants) {
            self.say(Frame::Adjust(adjust)).await;
        }
    }

    async fn say(&mut self, frame: Frame) {
        // A depot that has sent everything has gone; one that broke off is noticed by what does not come.
        let _ = self.writer.write(&frame, &[]).await;
    }

    fn check_complete(&self) -> Result<()> {
        match self.due.wanted().count() {
            0 => Ok(()),
            due => Err(Error::invalid(format!("the depot ended the fetch with {due} segments to come"))),
        }
    }
}

/// Copies a loan out of the depot's memory and verifies it.
fn copy_out(manifest: &Manifest, loan: Vec<(SegmentRef, SealedMemory)>) -> Result<Vec<ReceivedSegment>> {
    let copy = |(SegmentRef { chunk_idx, key }, memory): (SegmentRef, SealedMemory)| {
        let failed = |error| Error::new(ErrorKind::Unavailable, format!("cannot read the depot's memory: {error}"));
        let segment = ReceivedSegment { chunk_idx, key, bytes: memory.read().map_err(failed)? };
        manifest.verify(&segment)?;
        Ok(segment)
    };
    loan.into_iter().map(copy).collect()
}

fn panicked(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("the reader of a loan failed: {error}"))
}
