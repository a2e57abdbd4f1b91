//! A depot with one context in it.

use std::path::Path;

use kvdepot_client::{Client, ConnectOptions, EncodedChunk, FetchRequest, TransportChoice};
use kvdepot_codec::{Dtype, KvChunk, Level, decode};
use kvdepot_proto::Scope;
use tempfile::TempDir;

use crate::{DepotProcess, KvSource, spec_of};

/// A depot with one context in it, of [`KvSource::small`].
#[derive(Debug)]
pub struct Stored {
    dir: TempDir,
    /// The depot, in a directory below [`Self::dir`].
    pub depot: DepotProcess,
    /// What the context is made from.
    pub source: KvSource,
    /// The context as it was put.
    pub chunks: Vec<EncodedChunk>,
    level: Level,
    num_tokens: usize,
}

impl Stored {
    /// Seven whole chunks and a short one.
    pub const NUM_TOKENS: usize = 2_000;
    /// The chunks of those.
    pub const NUM_CHUNKS: u32 = 8;

    /// Starts a depot and puts [`Self::NUM_TOKENS`] tokens.
    ///
    /// # Errors
    /// Those of the depot.
    pub async fn put(level: Level) -> anyhow::Result<Self> {
        Self::put_tokens(level, Self::NUM_TOKENS).await
    }

    /// Starts a depot and puts so many tokens.
    ///
    /// # Errors
    /// Those of the depot.
    pub async fn put_tokens(level: Level, num_tokens: usize) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let depot = DepotProcess::start(&dir.path().join("depot"), &[])?;
        let source = KvSource::small(Dtype::Bf16, 33)?;
        let chunks = source.encoded(num_tokens, level)?;
        let stored = Self { dir, depot, source, chunks, level, num_tokens };
        let client = stored.client(TransportChoice::Quic).await?;
        client.put(&stored.scope(), &stored.tokens(), &stored.chunks, |_| ()).await?;
        Ok(stored)
    }

    /// A directory for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How to reach the depot.
    pub fn options(&self, transport: TransportChoice) -> ConnectOptions {
        ConnectOptions { transport, ..self.depot.connect_options() }
    }

    /// A client that is connected.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn client(&self, transport: TransportChoice) -> kvdepot_client::Result<Client> {
        Client::connect(&self.options(transport)).await
    }

    /// Where the context is.
    pub fn scope(&self) -> Scope {
        Scope { lossy: !self.level.is_lossless(), ..Scope::exact(spec_of(self.source.geometry)) }
    }

    /// Its tokens.
    pub fn tokens(&self) -> Vec<u32> {
        self.source.tokens(self.num_tokens)
    }

    /// Asks for all of it.
    pub fn request(&self) -> FetchRequest {
        FetchRequest::tokens(self.scope(), self.tokens())
    }

    /// What its chunks were before they were encoded.
    ///
    /// # Errors
    /// Those of [`KvSource::chunks`].
    pub fn whole(&self) -> anyhow::Result<Vec<KvChunk>> {
        self.source.chunks(self.num_tokens)
    }

    /// What its chunks decode to with their leading quality layers.
    ///
    /// # Errors
    /// Those of the codec.
    pub fn decoded(&self, qualities: u8) -> anyhow::Result<Vec<KvChunk>> {
        let decode_one = |(chunk, like): (&EncodedChunk, &KvChunk)| {
            let leading = chunk.segments.iter().filter(|segment| segment.key.quality < qualities);
            let segments = leading.map(|segment| segment.bytes.as_slice());
            Ok(decode(self.source.geometry, like.num_tokens(), segments)?)
        };
        self.chunks.iter().zip(&self.whole()?).map(decode_one).collect()
    }

    /// Bytes of its first `qualities` quality layers.
    pub fn stored_bytes(&self, qualities: u8) -> u64 {
        self.chunks.iter().map(|chunk| chunk.content().leading(qualities).stored_bytes()).sum()
    }

    /// Kills the depot as a crash would, and starts another one on what it left.
    ///
    /// # Errors
    /// As [`DepotProcess::restart_after_kill9`].
    pub fn restarted(self) -> anyhow::Result<Self> {
        let Self { dir, depot, source, chunks, level, num_tokens } = self;
        Ok(Self { depot: depot.restart_after_kill9()?, dir, source, chunks, level, num_tokens })
    }
}
