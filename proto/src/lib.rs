//! What the daemon and its clients agree on.
//!
//! - [`v1`]: the messages and services of `kvdepot.v1`, generated from `proto/`.
//! - [`KvSpec`], [`Scope`], [`ChunkId`]: identity. Two callers see each other's chunks only when everything that makes
//!   two KV caches interchangeable is equal; the daemon computes ids itself, from tokens.
//! - [`Manifest`], [`Assembly`]: what a transfer consists of, and the bookkeeping of the side that receives it.
//! - [`frame`]: the frames of the QUIC data plane, parsed without sockets or clock.
//! - [`stream`]: in which order a fetch sends, what its receiver wants, and how it decides; no sockets, no clock.
//! - [`Error`]: what went wrong and what the caller should do, on either plane.
//!
//! Everything that arrives in a message is checked once, where it is turned into the types of this crate.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

mod assembly;
mod chain;
pub mod data_dir;
mod error;
pub mod frame;
mod hex;
mod ids;
pub mod limits;
mod manifest;
mod rope;
mod scope;
mod spec;
mod spec_json;
pub mod stream;
pub mod transport;
mod verify;

pub use assembly::{Assembly, PieceAssembly, ReceivedSegment};
pub use chain::{ChunkRef, chain};
pub use error::{Error, ErrorKind, Result};
pub use ids::{ChunkId, Fingerprint};
pub use manifest::{Announce, ChunkContent, ChunkEntry, Manifest, SegmentEntry, check_tokens, segment_key};
pub use rope::Rope;
pub use scope::{NamespaceKey, Scope};
pub use spec::KvSpec;

/// Generated messages and services of `kvdepot.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::arithmetic_side_effects, clippy::too_many_lines)]
pub mod v1 {
    tonic::include_proto!("kvdepot.v1");

    /// Descriptors of the services, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kvdepot_descriptor.bin"));
}

/// ALPN of the QUIC data plane.
pub const ALPN: &[u8] = b"kvdepot/1";
