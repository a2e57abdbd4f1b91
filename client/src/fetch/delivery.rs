//! The bookkeeping of one fetch, whatever its transports do: checks what arrives, hands it over, counts it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kvdepot_proto::stream::{Begun, FetchReceiver, Fetching, Wants};
use kvdepot_proto::{Manifest, ReceivedSegment, v1};
use tokio::sync::watch;

use super::{FetchEvent, FetchReport, FetchRequest, Transport, check};
use crate::Result;

/// Where the events of a fetch go.
pub(super) type Sink<'a> = dyn FnMut(FetchEvent<'_>) -> Result<()> + Send + 'a;

/// One fetch in progress.
pub(crate) struct Delivery<'a> {
    request: &'a FetchRequest,
    fetching: Fetching,
    sink: &'a mut Sink<'a>,
    /// Whether the sink has ended the fetch.
    is_refused: bool,
    started: Instant,
    time_to_first_byte: Option<Duration>,
    report: FetchReport,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(request: &'a FetchRequest, sink: &'a mut Sink<'a>) -> Self {
        Self {
            request,
            fetching: Fetching::new(request.message(), request.wants),
            sink,
            is_refused: false,
            started: Instant::now(),
            time_to_first_byte: None,
            report: FetchReport::default(),
        }
    }

    /// What to ask for on the next connection.
    pub(crate) fn request(&self, transfer_id: u64) -> v1::FetchRequest {
        self.fetching.request(transfer_id)
    }

    /// Checks the manifest that came over `transport` against the request, and hands it over if it is new; gives what is left to
    /// receive of it.
    pub(crate) fn begin(
        &mut self,
        message: v1::Manifest,
        transport: Transport,
    ) -> Result<(Arc<Manifest>, FetchReceiver)> {
        let manifest = Manifest::try_from(message)?;
        check::manifest(self.request, &manifest)?;
        let Begun { manifest, due, is_first } = self.fetching.begin(manifest)?;
        self.report.transport = transport;
        if is_first {
            self.report.chunks = manifest.chunks.len();
            self.hand_over(FetchEvent::Manifest(&manifest))?;
        } else {
            self.report.resumed += 1;
        }
        Ok((manifest, due))
    }

    /// Takes wants back.
    pub(crate) fn adjust(&mut self, wants: Wants) {
        self.fetching.adjust(wants);
    }

    /// Hands over a segment that was verified.
    pub(crate) fn segment(&mut self, segment: &ReceivedSegment) -> Result<()> {
        self.time_to_first_byte.get_or_insert(self.started.elapsed());
        self.report.segments += 1;
        self.report.payload_bytes += segment.bytes.len() as u64;
        self.fetching.hand_over(segment.into());
        self.hand_over(FetchEvent::Segment(segment))
    }

    /// Segments that were handed over.
    pub(super) fn segments(&self) -> usize {
        self.report.segments
    }

    /// Whether the sink has ended the fetch.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Waits for `pause`; gives whether anything is wanted still. Once nothing is, it does not wait.
    pub(super) async fn pause(&mut self, pause: Duration, wants: &mut watch::Receiver<Wants>) -> bool {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        while !self.fetching.is_complete() {
            tokio::select! {
                () = &mut pause => return true,
                Ok(()) = wants.changed() => self.adjust(*wants.borrow_and_update()),
            }
        }
        false
    }

    pub(super) fn report(self) -> FetchReport {
        let elapsed = self.started.elapsed();
        FetchReport { elapsed, time_to_first_byte: self.time_to_first_byte.unwrap_or(elapsed), ..self.report }
    }

    fn hand_over(&mut self, event: FetchEvent<'_>) -> Result<()> {
        let taken = (self.sink)(event);
        self.is_refused |= taken.is_err();
        taken
    }
}
