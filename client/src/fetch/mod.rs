//! Fetching stored KV, over either plane.

mod check;
mod decode;
mod delivery;
mod grpc;

use std::time::Duration;

use kvdepot_proto::stream::{SendOrder, Wants};
use kvdepot_proto::{ChunkId, Manifest, ReceivedSegment, Scope, v1};

use tokio::sync::watch;

use crate::{Client, Result, data_plane::Route};

pub(crate) use check::segment as verify;
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
    /// In which order segments come, over QUIC: gRPC sends chunk by chunk from the first one.
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

/// What a fetch hands to its caller: the manifest once, then every segment of it once, in the order of arrival.
#[derive(Debug, Clone, Copy)]
pub enum FetchEvent<'a> {
    /// What will come. Checked against the request.
    Manifest(&'a Manifest),
    /// A segment. Its checksum is verified and its header is what the manifest says.
    Segment(&'a ReceivedSegment),
}

/// What a fetch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchReport {
    /// Chunks received.
    pub chunks: usize,
    /// Segments received.
    pub segments: usize,
    /// Bytes of those.
    pub payload_bytes: u64,
    /// How they travelled.
    pub transport: Transport,
    /// From the request to the last segment.
    pub elapsed: Duration,
    /// From the request to the first segment; the same as `elapsed` when there is none.
    pub time_to_first_byte: Duration,
}

/// How KV travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Shared memory on one host.
    Local,
    /// The QUIC data plane.
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

    fn message(&self, transfer_id: u64) -> v1::FetchRequest {
        let (tokens, chunk_id) = match &self.what {
            FetchTarget::Tokens(tokens) => (tokens.clone(), Vec::new()),
            FetchTarget::Chunk(id) => (Vec::new(), (*id).into()),
        };
        let scope = self.scope.as_ref().map(Into::into);
        v1::FetchRequest {
            scope,
            tokens,
            chunk_id,
            skip_chunks: self.skip_chunks,
            transfer_id,
            order: v1::SendOrder::from(self.order).into(),
            max_qualities: self.wants.max_qualities().into(),
        }
    }
}

impl Client {
    /// Fetches KV and hands every segment to `on_segment` as it arrives; a chunk's segments may come in any order, and
    /// chunks may interleave. A prefix that is not stored is a manifest without chunks.
    ///
    /// While `on_segment` runs, nothing more is taken from the network: that is the back-pressure.
    ///
    /// # Errors
    /// `NotFound` when the named chunk is not stored; `Incompatible` when what is stored is not what `request`
    /// expects; `Corrupt` when a segment fails its checksum; `Unavailable` when the depot does not answer or the
    /// transfer stands still: what was handed over stays good, and a new request may skip its whole chunks. Errors of
    /// `on_segment` end the fetch.
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
    /// all the same is not handed over; over gRPC the quality layers that the request wants come of all chunks.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    ///
    /// # Cancel safety
    /// As [`Self::fetch`].
    pub async fn fetch_steered(
        &self,
        request: &FetchRequest,
        wants: watch::Receiver<Wants>,
        mut on_segment: impl FnMut(FetchEvent<'_>) -> Result<()> + Send,
    ) -> Result<FetchReport> {
        check::request(request)?;
        let mut delivery = Delivery::new(request, &mut on_segment);
        if let Some(local) = self.data_plane.local().await? {
            local.fetch(request.message(0), wants, &mut delivery).await?;
            return Ok(delivery.report(Transport::Local));
        }
        let transport = match self.data_plane.route().await? {
            Route::Quic(connection) => {
                let message = request.message(connection.next_transfer_id());
                self.data_plane.watched(&connection, connection.fetch(message, wants, &mut delivery)).await?;
                self.data_plane.give_back(connection);
                Transport::Quic
            }
            Route::Grpc => {
                grpc::fetch(&self.control, request.message(0), &mut delivery).await?;
                Transport::Grpc
            }
        };
        Ok(delivery.report(transport))
    }
}
