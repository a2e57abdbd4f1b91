//! Fetching stored KV, over either plane.

mod check;
mod decode;
mod delivery;
mod grpc;

use std::time::{Duration, Instant};

use kvdepot_proto::stream::{FetchReceiver, SendOrder, Wants};
use kvdepot_proto::{ChunkId, Manifest, ReceivedSegment, Scope, v1};
use tokio::sync::watch;

use crate::{Client, Error, ErrorKind, Result, data_plane::Route};

pub use decode::{FetchProgress, FetchedKv};
pub(crate) use delivery::Delivery;

/// What to fetch.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchRequest {
    /// Where tokens are looked up; with a chunk, what it is expected to be.
    pub scope: Option<Scope>,
    /// Which context.
    pub what: FetchTarget,
    /// Leading chunks that the caller holds already.
    pub skip_chunks: u32,
    /// In which order segments are sent.
    pub order: SendOrder,
    /// What is wanted; [`Client::fetch_steered`] can take more back.
    pub wants: Wants,
}

/// Names a context.
#[derive(Debug, Clone, PartialEq)]
pub enum FetchTarget {
    /// The longest stored prefix of these; needs a scope.
    Tokens(Vec<u32>),
    /// The chain from position 0 to this chunk.
    Chunk(ChunkId),
}

/// What a fetch hands to its caller: the manifest once, then every segment of it once, in the order of arrival, however often its
/// connection breaks.
#[derive(Debug, Clone, Copy)]
pub enum FetchEvent<'a> {
    /// What will come. Checked against the request.
    Manifest(&'a Manifest),
    /// A segment. Its checksum is verified and its header is what the manifest says.
    Segment(&'a ReceivedSegment),
}

/// What a fetch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FetchReport {
    /// Chunks received.
    pub chunks: usize,
    /// Segments received.
    pub segments: usize,
    /// Bytes of those.
    pub payload_bytes: u64,
    /// How they travelled, the last ones at least.
    pub transport: Transport,
    /// How often the fetch went on after its connection broke.
    pub resumed: usize,
    /// From the request to the last segment.
    pub elapsed: Duration,
    /// From the request to the first segment; the same as `elapsed` when there is none.
    pub time_to_first_byte: Duration,
}

/// How KV travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Shared memory on one host.
    Local,
    /// The QUIC data plane.
    #[default]
    Quic,
    /// The control plane.
    Grpc,
}

impl FetchRequest {
    /// Asks for the longest stored prefix of `tokens`.
    pub fn tokens(scope: Scope, tokens: Vec<u32>) -> Self {
        Self { scope: Some(scope), ..Self::of(FetchTarget::Tokens(tokens)) }
    }

    /// Asks for the context that ends in chunk `id`, whatever it is.
    pub fn chunk(id: ChunkId) -> Self {
        Self::of(FetchTarget::Chunk(id))
    }

    fn of(what: FetchTarget) -> Self {
        Self { scope: None, what, skip_chunks: 0, order: SendOrder::default(), wants: Wants::default() }
    }

    /// What it names, and in which order.
    fn message(&self) -> v1::FetchRequest {
        let (tokens, chunk_id) = match &self.what {
            FetchTarget::Tokens(tokens) => (tokens.clone(), Vec::new()),
            FetchTarget::Chunk(id) => (Vec::new(), (*id).into()),
        };
        v1::FetchRequest {
            scope: self.scope.as_ref().map(Into::into),
            tokens,
            chunk_id,
            skip_chunks: self.skip_chunks,
            order: v1::SendOrder::from(self.order).into(),
            ..v1::FetchRequest::default()
        }
    }
}

/// What a fetch ends with of which nothing has come for `timeout`.
pub(crate) fn stalled(due: &FetchReceiver, timeout: Duration) -> Error {
    let missing = due.wanted().count();
    let message = format!("the transfer stood still for {timeout:?} with {missing} segments to come; try again");
    Error::new(ErrorKind::Unavailable, message)
}

impl Client {
    /// Fetches KV and hands every segment to `on_segment` as it arrives; a chunk's segments may come in any order, and
    /// chunks may interleave. A prefix that is not stored is a manifest without chunks.
    ///
    /// While `on_segment` runs, nothing more is taken from the network: that is the back-pressure.
    ///
    /// A fetch whose connection breaks, or whose daemon is restarted, is tried again for
    /// [`ConnectOptions::resume_within`](crate::ConnectOptions::resume_within), and only what was not handed over is asked for.
    ///
    /// # Errors
    /// `NotFound` when the named chunk is not stored, or when what the manifest promised was removed or replaced while the
    /// connection was broken; `Incompatible` when what is stored is not what `request`
    /// expects; `Corrupt` when a segment fails its checksum; `Unavailable` when the depot does not answer or the
    /// transfer stands still. After any error what was handed over stays good, and a new request may skip its whole chunks.
    /// Errors of `on_segment` end the fetch.
    ///
    /// # Cancel safety
    /// Dropping the future ends the transfer; the client stays usable.
    pub async fn fetch(
        &self,
        request: &FetchRequest,
        on_segment: impl FnMut(FetchEvent<'_>) -> Result<()> + Send,
    ) -> Result<FetchReport> {
        let (_steady, wants) = watch::channel(request.wants);
        self.fetch_steered(request, wants, on_segment).await
    }

    /// [`Self::fetch`], for a caller that may want less and less while it receives: what `wants` says, beside what the request
    /// does. Chunks are numbered as in the manifest. Over QUIC the depot is told and stops sending the rest, and what comes
    /// all the same is not handed over; over gRPC what was wanted when the request was sent comes.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    ///
    /// # Cancel safety
    /// As [`Self::fetch`].
    pub async fn fetch_steered(
        &self,
        request: &FetchRequest,
        mut wants: watch::Receiver<Wants>,
        mut on_segment: impl FnMut(FetchEvent<'_>) -> Result<()> + Send,
    ) -> Result<FetchReport> {
        check::request(request)?;
        let mut delivery = Delivery::new(request, &mut on_segment);
        let mut retries = self.data_plane.retries();
        loop {
            delivery.adjust(*wants.borrow_and_update());
            let segments_before = delivery.segments();
            let fetched = self.fetch_once(&mut delivery, &mut wants).await;
            let Err(error) = self.data_plane.learn_from(fetched) else { break };
            if delivery.is_refused() {
                return Err(error);
            }
            if delivery.segments() > segments_before {
                retries.progressed();
            }
            let pause = retries.pause_after(error, Instant::now())?;
            if !delivery.pause(pause, &mut wants).await {
                break;
            }
        }
        Ok(delivery.report())
    }

    /// Fetches what is missing over one connection.
    async fn fetch_once(&self, delivery: &mut Delivery<'_>, wants: &mut watch::Receiver<Wants>) -> Result<()> {
        if let Some(local) = self.data_plane.local().await? {
            return local.fetch(wants, delivery).await;
        }
        match self.data_plane.route().await? {
            Route::Quic(connection) => {
                self.data_plane.watched(&connection, connection.fetch(wants, delivery)).await?;
                self.data_plane.give_back(connection);
                Ok(())
            }
            Route::Grpc => grpc::fetch(&self.control, delivery).await,
        }
    }
}
