//! The bookkeeping of one fetch, whatever the transport: checks what arrives, hands it over, counts it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kvdepot_proto::stream::Wants;
use kvdepot_proto::{Manifest, ReceivedSegment, v1};

use super::{FetchEvent, FetchReport, FetchRequest, Transport, check};
use crate::Result;

/// Where the events of a fetch go.
pub(super) type Sink<'a> = dyn FnMut(FetchEvent<'_>) -> Result<()> + Send + 'a;

/// One fetch in progress.
pub(crate) struct Delivery<'a> {
    request: &'a FetchRequest,
    sink: &'a mut Sink<'a>,
    started: Instant,
    time_to_first_byte: Option<Duration>,
    chunks: usize,
    segments: usize,
    payload_bytes: u64,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(request: &'a FetchRequest, sink: &'a mut Sink<'a>) -> Self {
        Self {
            request,
            sink,
            started: Instant::now(),
            time_to_first_byte: None,
            chunks: 0,
            segments: 0,
            payload_bytes: 0,
        }
    }

    /// Checks the manifest against the request and hands it over.
    pub(crate) fn begin(&mut self, message: v1::Manifest) -> Result<Arc<Manifest>> {
        let manifest = Manifest::try_from(message)?;
        check::manifest(self.request, &manifest)?;
        self.chunks = manifest.chunks.len();
        (self.sink)(FetchEvent::Manifest(&manifest))?;
        Ok(Arc::new(manifest))
    }

    /// What the request wants.
    pub(crate) fn wants(&self) -> Wants {
        self.request.wants
    }

    /// Hands over a segment that was verified.
    pub(crate) fn segment(&mut self, segment: &ReceivedSegment) -> Result<()> {
        self.time_to_first_byte.get_or_insert(self.started.elapsed());
        self.segments += 1;
        self.payload_bytes += segment.bytes.len() as u64;
        (self.sink)(FetchEvent::Segment(segment))
    }

    /// Segments that were handed over.
    pub(crate) fn segments(&self) -> usize {
        self.segments
    }

    pub(super) fn report(self, transport: Transport) -> FetchReport {
        let elapsed = self.started.elapsed();
        FetchReport {
            chunks: self.chunks,
            segments: self.segments,
            payload_bytes: self.payload_bytes,
            transport,
            elapsed,
            time_to_first_byte: self.time_to_first_byte.unwrap_or(elapsed),
        }
    }
}
