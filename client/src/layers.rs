//! A prefix that comes layer by layer: each layer is decoded as it is asked for, while later ones are on the wire.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvdepot_codec::{KvChunk, SegmentHeader, SegmentKey, Side, decode_layers};
use kvdepot_proto::stream::{SendOrder, Wants};
use kvdepot_proto::{ChunkContent, Manifest, ReceivedSegment, Scope};
use rayon::prelude::*;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::{Client, Error, ErrorKind, FetchEvent, FetchRequest, Result};

/// The longest stored prefix of a context, on its way. Dropping it ends the transfer.
pub struct ArrivingLayers {
    manifest: Manifest,
    /// Those of the manifest, as far as they are decoded.
    chunks: Vec<KvChunk>,
    /// What is not decoded of each.
    coming: Vec<Coming>,
    events: mpsc::Receiver<Arrival>,
    /// Taken back when this is dropped.
    say: watch::Sender<Wants>,
    report: LayersReport,
}

/// How the layers came that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayersReport {
    /// Bytes of segments.
    pub payload_bytes: u64,
    /// Time in which a layer was asked for and had not come.
    pub waited: Duration,
    /// Time in which one was decoded.
    pub decoded: Duration,
}

/// What the network brings.
enum Arrival {
    Manifest(Box<Manifest>),
    Segment(ReceivedSegment),
    End(Result<()>),
}

/// What is not decoded of a chunk.
struct Coming {
    groups: BTreeMap<u16, LayerGroup>,
    /// Leading layers that are decoded.
    layers: usize,
}

/// A layer group on its way.
#[derive(Default)]
struct LayerGroup {
    /// Segments that are to come.
    due: usize,
    segments: Vec<(SegmentKey, Bytes)>,
}

impl Client {
    /// Begins to fetch the longest stored prefix of `tokens`, layer by layer, each with all its quality layers; blocks until it is
    /// known what will come. A prefix that is not stored is a manifest without chunks.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    ///
    /// # Panics
    /// Inside of an asynchronous task it blocks the thread of the runtime.
    pub fn fetch_layers(&self, runtime: &Handle, scope: &Scope, tokens: &[u32]) -> Result<ArrivingLayers> {
        let request = FetchRequest { order: SendOrder::Layers, ..FetchRequest::tokens(scope.clone(), tokens.to_vec()) };
        let (say, wants) = watch::channel(request.wants);
        let (arrive, events) = mpsc::channel();
        runtime.spawn(fetch(self.clone(), request, wants, arrive));
        match next(&events)? {
            Arrival::Manifest(manifest) => ArrivingLayers::new(*manifest, events, say),
            Arrival::Segment(_) | Arrival::End(Ok(())) => Err(ended()),
            Arrival::End(Err(error)) => Err(error),
        }
    }
}

/// The network's end. Who does not listen any more has what it wanted.
async fn fetch(client: Client, request: FetchRequest, wants: watch::Receiver<Wants>, arrive: mpsc::Sender<Arrival>) {
    let fetched = client.fetch_steered(&request, wants, |event| {
        let _ = arrive.send(match event {
            FetchEvent::Manifest(manifest) => Arrival::Manifest(Box::new(manifest.clone())),
            FetchEvent::Segment(segment) => Arrival::Segment(segment.clone()),
        });
        Ok(())
    });
    let ended = fetched.await.map(drop);
    let _ = arrive.send(Arrival::End(ended));
}

impl ArrivingLayers {
    fn new(manifest: Manifest, events: mpsc::Receiver<Arrival>, say: watch::Sender<Wants>) -> Result<Self> {
        let geometry = manifest.spec.geometry;
        let zeroed = manifest.chunks.iter().map(|chunk| KvChunk::zeroed(geometry, chunk.num_tokens as usize));
        let chunks = zeroed.collect::<kvdepot_codec::Result<_>>()?;
        let coming = manifest.chunks.iter().map(|chunk| Coming::new(&chunk.content)).collect();
        Ok(Self { chunks, coming, manifest, events, say, report: LayersReport::default() })
    }

    /// What comes.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Waits until one layer of all chunks is there, and decodes it, on the threads of the current rayon pool; gives the chunks of
    /// the manifest, whose planes up to that layer are filled.
    ///
    /// # Errors
    /// As [`Client::fetch`], and `Corrupt`, `Incompatible` or `Invalid` when a segment does not decode, or none holds the layer.
    pub fn layer(&mut self, layer: usize) -> Result<&[KvChunk]> {
        let started = Instant::now();
        while !self.coming.iter().all(|chunk| chunk.has_come(layer)) {
            match next(&self.events)? {
                Arrival::Segment(segment) => self.add(segment),
                Arrival::Manifest(_) | Arrival::End(Ok(())) => return Err(ended()),
                Arrival::End(Err(error)) => return Err(error),
            }
        }
        let come = Instant::now();
        let chunks = self.coming.par_iter_mut().zip(&mut self.chunks);
        chunks.try_for_each(|(coming, chunk)| coming.decode_to(layer, chunk))?;
        self.report.waited += come - started;
        self.report.decoded += come.elapsed();
        Ok(&self.chunks)
    }

    /// How it came so far.
    pub fn report(&self) -> LayersReport {
        self.report
    }

    fn add(&mut self, segment: ReceivedSegment) {
        self.report.payload_bytes += segment.bytes.len() as u64;
        let chunk = self.coming.get_mut(segment.chunk_idx as usize);
        if let Some(group) = chunk.and_then(|chunk| chunk.groups.get_mut(&segment.key.layer_group)) {
            group.segments.push((segment.key, segment.bytes));
        }
    }
}

impl Drop for ArrivingLayers {
    fn drop(&mut self) {
        self.say.send_replace(Wants::new(u32::MAX, 0));
    }
}

impl Coming {
    fn new(content: &ChunkContent) -> Self {
        let mut groups = BTreeMap::<u16, LayerGroup>::new();
        for segment in &content.segments {
            groups.entry(segment.key.layer_group).or_default().due += 1;
        }
        Self { groups, layers: 0 }
    }

    /// Whether `layer` is decoded, or the layer group that comes next is whole. How many layers that has shows when it is decoded.
    fn has_come(&self, layer: usize) -> bool {
        let next = self.groups.values().next();
        self.layers > layer || next.is_none_or(|group| group.segments.len() == group.due)
    }

    /// Decodes the next layer group, which has `layer`, if that is not done.
    fn decode_to(&mut self, layer: usize, into: &mut KvChunk) -> Result<()> {
        if self.layers > layer {
            return Ok(());
        }
        let held = || Error::new(ErrorKind::Incompatible, format!("no segment holds layer {layer} where it is due"));
        let (_, group) = self.groups.pop_first().ok_or_else(held)?;
        let [keys, values] = Side::BOTH.map(|side| group.decode(side, into));
        let (keys, values) = (keys?, values?);
        let layers_of = |header: &SegmentHeader| (header.first_layer(), header.num_layers());
        if layers_of(&keys) != layers_of(&values) || keys.first_layer() != layer {
            return Err(held());
        }
        self.layers = layer + keys.num_layers();
        Ok(())
    }
}

impl LayerGroup {
    fn decode(&self, side: Side, into: &mut KvChunk) -> Result<SegmentHeader> {
        let mut of_side: Vec<_> = self.segments.iter().filter(|(key, _)| key.side == side).collect();
        of_side.sort_unstable_by_key(|(key, _)| key.quality);
        let bytes: Vec<&[u8]> = of_side.into_iter().map(|(_, bytes)| &bytes[..]).collect();
        Ok(decode_layers(&bytes, into)?)
    }
}

fn next(events: &mpsc::Receiver<Arrival>) -> Result<Arrival> {
    events.recv().map_err(|_| ended())
}

fn ended() -> Error {
    Error::new(ErrorKind::Internal, "a fetch ended before its last layer")
}
