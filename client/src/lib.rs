//! Rust client of the depot.
//!
//! - [`Client::connect`]: reaches a depot over its Unix socket or over TLS.
//! - [`Client::matches`]: how much of a token sequence is stored. A miss is an answer.
//! - [`Client::fetch`], [`Client::fetch_kv`]: the stored KV, as verified segments or decoded.
//! - [`Client::load_from_both_ends`]: the same into an [`Engine`], which computes meanwhile what is sooner computed.
//! - [`Client::fetch_layers`]: the same layer by layer, for an engine that runs its first layers while later ones come.
//! - [`Client::prefetch`]: the same in the background, for an engine that is busy meanwhile.
//! - [`Client::put`]: stores encoded chunks; only what the depot lacks is sent.
//! - [`Client::usage`], [`Client::contexts`], [`Client::inspect`], [`Client::stat`], [`Client::delete`]: what is in there.
//!
//! KV comes out of shared memory from a depot on the same host, else travels over QUIC, and over gRPC where UDP does not get
//! through. Whatever arrives is checked against what was
//! asked for and against its checksum before a caller sees it.
//!
//! # Examples
//! ```no_run
//! use kvdepot_client::{Client, ConnectOptions, FetchRequest};
//! use kvdepot_proto::{KvSpec, Scope};
//!
//! # async fn example(spec: KvSpec, tokens: Vec<u32>) -> kvdepot_client::Result<()> {
//! let client = Client::connect(&ConnectOptions::new("unix:/run/kvdepot/kvdepot.sock")).await?;
//! let request = FetchRequest::tokens(Scope::exact(spec), tokens);
//! let fetched = client.fetch_kv(&request, |progress| println!("{} bytes", progress.received_bytes)).await?;
//! let stored_tokens = fetched.manifest.end_token();
//! # Ok(())
//! # }
//! ```

mod both_ends;
mod client;
mod connect;
mod contexts;
mod control;
mod data_plane;
mod fetch;
pub mod files;
mod id_prefix;
mod layers;
mod local;
mod put;
mod quic;
mod retries;
mod usage;

pub use both_ends::{
    BothEnds, BothEndsReport, ChunkFate, ChunkReport, CpuDecoder, Decoder, Engine, Prefetch, Prefetched, Step,
};
pub use client::{Client, Match};
pub use connect::{ConnectOptions, TransportChoice};
pub use contexts::{ChunkStat, ContextPages, ContextSummary, Deleted, Extent, Inspected};
pub use fetch::{FetchEvent, FetchProgress, FetchReport, FetchRequest, FetchTarget, FetchedKv, Transport};
pub use id_prefix::IdPrefix;
pub use kvdepot_proto::stream::{SendOrder, Wants};
pub use kvdepot_proto::{Error, ErrorKind, Result};
pub use layers::{ArrivingLayers, LayersReport};
pub use put::{EncodedChunk, PutProgress, PutReport};
pub use usage::Usage;
