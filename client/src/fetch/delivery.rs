//! The bookkeeping of one fetch, whatever the transport: checks what arrives, hands it over, counts it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kvdepot_proto::{Assembly, Manifest, ReceivedSegment, v1};

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
    due_segments: usize,
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
            due_segments: 0,
            segments: 0,
            payload_bytes: 0,
        }
    }

    /// Checks the manifest against the request and hands it over; gives the segments that are due.
    pub(crate) fn begin(&mut self, message: v1::Manifest) -> Result<(Arc<Manifest>, Assembly)> {
        let manifest = Manifest::try_from(message)?;
        check::manifest(self.request, &manifest)?;
        let due = Assembly::new((0..).zip(manifest.chunks.iter().map(|chunk| &chunk.content)));
        self.chunks = manifest.chunks.len();
        self.due_segments = due.outstanding();
        (self.sink)(FetchEvent::Manifest(&manifest))?;
        Ok((Arc::new(manifest), due))
    }

    /// Hands over a segment that was verified.
    pub(crate) fn segment(&mut self, segment: &ReceivedSegment) -> Result<()> {
        self.time_to_first_byte.get_or_insert(self.started.elapsed());
        self.segments += 1;
        self.payload_bytes += segment.bytes.len() as u64;
        (self.sink)(FetchEvent::Segment(segment))
    }

    /// Whether every segment was handed over.
    pub(crate) fn is_complete(&self) -> bool {
        self.segments == self.due_segments
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
