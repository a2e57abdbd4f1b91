//! A prefix from both ends: the engine computes chunks from the front while others come from the back, until they meet.
//! Which of both a chunk is, [`kvdepot_proto::stream::decide`] says: `STREAM.md`, "The controller".

mod board;
mod decoding;
mod engine_end;
mod prefetch;
mod report;

use std::sync::Arc;

use bytes::Bytes;
use kvdepot_codec::{Geometry, KvChunk};
use kvdepot_proto::Scope;
use kvdepot_proto::stream::{EngineCosts, Goal, Wants};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::{Client, Error, FetchRequest};
use board::Board;
use engine_end::EngineEnd;
pub use prefetch::{Prefetch, Prefetched};
pub use report::{BothEndsReport, ChunkFate, ChunkReport, Step};

/// The engine that a prefix is for. It holds the KV of leading tokens, which only grow.
pub trait Engine {
    /// A decoded chunk, as the engine takes it.
    type Kv: Send + 'static;
    /// Why it could not go on.
    type Error: From<Error>;

    /// What computing takes, where that is known; else it is measured.
    fn costs(&self) -> Option<EngineCosts>;

    /// Computes the KV of the tokens after those it holds, up to the `end`-th of the context.
    ///
    /// # Errors
    /// Its own; the fetch then ends with them.
    fn compute(&mut self, end: usize) -> Result<(), Self::Error>;

    /// Takes the KV of the chunk after the tokens it holds.
    ///
    /// # Errors
    /// Its own; the fetch then ends with them.
    fn append(&mut self, num_tokens: usize, kv: Self::Kv) -> Result<(), Self::Error>;

    /// Keeps the first `num_tokens` of the tokens that it holds: those after them come from the depot.
    ///
    /// # Errors
    /// Its own; the fetch then ends with them.
    fn truncate(&mut self, num_tokens: usize) -> Result<(), Self::Error>;
}

/// Turns segments into what an engine takes, beside it on another thread.
pub trait Decoder: Sync {
    /// A decoded chunk.
    type Kv;

    /// Decodes a chunk from all segments of its leading quality layers, which are verified.
    ///
    /// # Errors
    /// Those of [`kvdepot_codec::decode`].
    fn decode(&self, geometry: Geometry, num_tokens: usize, segments: &[Bytes]) -> kvdepot_codec::Result<Self::Kv>;
}

/// Decodes on the threads of rayon's global pool.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuDecoder;

impl Decoder for CpuDecoder {
    type Kv = KvChunk;

    fn decode(&self, geometry: Geometry, num_tokens: usize, segments: &[Bytes]) -> kvdepot_codec::Result<KvChunk> {
        kvdepot_codec::decode(geometry, num_tokens, segments.iter().map(|bytes| &bytes[..]))
    }
}

/// What is to be obtained, and how well.
#[derive(Debug, Clone, Copy)]
pub struct BothEnds<'a> {
    /// Where the tokens are looked up.
    pub scope: &'a Scope,
    /// The context; what is stored of it is obtained.
    pub tokens: &'a [u32],
    /// Quality, and perhaps a deadline, counted from the call.
    pub goal: Goal,
}

impl Client {
    /// Brings the longest stored prefix of a context into `engine`, which computes from its front what has not come from its
    /// back, and blocks meanwhile. The engine begins before the depot has answered, so that it may end up with more than is stored. A transfer that fails is not an error: the engine computes up to what has come, and the
    /// report says why. Over gRPC chunks come from the front, so that the engine mostly waits.
    ///
    /// What is under way when the prefix is complete is taken back on `runtime` after the call.
    ///
    /// # Errors
    /// Those of the engine; `Internal` when a decoder panics.
    ///
    /// # Panics
    /// Inside of an asynchronous task it blocks the thread of the runtime.
    pub fn load_from_both_ends<E, D>(
        &self,
        runtime: &Handle,
        what: BothEnds<'_>,
        engine: &mut E,
        decoder: &D,
    ) -> Result<BothEndsReport, E::Error>
    where
        E: Engine,
        D: Decoder<Kv = E::Kv>,
    {
        let board = Arc::new(Board::new(what.goal));
        let (say, wants) = watch::channel(Wants::new(0, what.goal.qualities));
        runtime.spawn(fetch(self.clone(), what, 0, Arc::clone(&board), wants));
        std::thread::scope(|threads| {
            let decoding = threads.spawn(|| decoding::run(&board, decoder));
            let met = EngineEnd::new(engine, &board, &say, what.tokens.len()).meet();
            board.close();
            say.send_replace(Wants::new(u32::MAX, 0));
            let panicked = |_| Error::new(crate::ErrorKind::Internal, "the decoder of a chunk panicked");
            decoding.join().map_err(panicked)?;
            let met = met?;
            report::finish(engine, &board, met)
        })
    }
}

/// The network's end.
fn fetch<K: Send + 'static>(
    client: Client,
    what: BothEnds<'_>,
    skip_chunks: u32,
    board: Arc<Board<K>>,
    wants: watch::Receiver<Wants>,
) -> impl Future<Output = ()> + Send + use<K> {
    let request = FetchRequest {
        skip_chunks,
        order: what.goal.order(),
        wants: Wants::new(0, what.goal.qualities),
        ..FetchRequest::tokens(what.scope.clone(), what.tokens.to_vec())
    };
    async move {
        let fetch = client.fetch_steered(&request, wants, |event| {
            board.take(event);
            Ok(())
        });
        board.end(fetch.await.err());
    }
}
