//! The receiving end of a put, the same for both planes: a thread of its own stages what arrives, then commits.

use std::time::Duration;

use kvdepot_proto::{Error, ErrorKind, ReceivedSegment, Result};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use crate::blocking::flatten;
use crate::depot::{Committed, StagedPut};

/// Segments that wait to be staged, besides the one that is.
const WAITING_SEGMENTS: usize = 2;

/// A put that brings no segment for this long is given up, with its room and its thread: the largest segment at
/// 10 Mbit/s takes less.
const STALL_TIMEOUT: Duration = Duration::from_secs(300);

/// A whole segment, and the claim on its sender's share of memory.
pub(crate) struct Delivery {
    pub(crate) segment: ReceivedSegment,
    pub(crate) _memory: Option<OwnedSemaphorePermit>,
}

/// A put that takes segments. Dropping all of its senders before it is complete drops the put.
pub(crate) struct Intake {
    outcome: JoinHandle<Result<Committed>>,
}

impl Intake {
    /// Starts staging what is sent, and commits when everything has arrived.
    pub(crate) fn start(put: StagedPut) -> (mpsc::Sender<Delivery>, Self) {
        let (sender, deliveries) = mpsc::channel(WAITING_SEGMENTS);
        (sender, Self { outcome: tokio::task::spawn_blocking(move || stage_and_commit(put, deliveries)) })
    }

    /// What the put came to.
    ///
    /// # Errors
    /// As [`StagedPut::stage`] and [`StagedPut::commit`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the put to its senders.
    pub(crate) async fn outcome(self) -> Result<Committed> {
        flatten(self.outcome.await)
    }
}

fn stage_and_commit(mut put: StagedPut, mut deliveries: mpsc::Receiver<Delivery>) -> Result<Committed> {
    while !put.is_complete() {
        let next = async { tokio::time::timeout(STALL_TIMEOUT, deliveries.recv()).await };
        match Handle::current().block_on(next) {
            Ok(Some(delivery)) => put.stage(&delivery.segment)?,
            Ok(None) => break,
            Err(_) => return Err(stalled()),
        }
    }
    put.commit()
}

fn stalled() -> Error {
    let secs = STALL_TIMEOUT.as_secs();
    Error::new(ErrorKind::Unavailable, format!("no segment of the put arrived for {secs} seconds"))
}
