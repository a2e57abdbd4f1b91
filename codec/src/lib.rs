//! KV tensors to and from segments.
//!
//! A context's KV cache is cut into chunks; a [`KvChunk`] encodes into segments, one per quality layer, layer group
//! and side (K or V), each decodable alone. The layout of every byte is in `FORMAT.md`.
//!
//! This crate is the leaf of the workspace and holds the nouns that all others share. It knows shapes, bits and
//! levels; it knows nothing of models by name, of the network, of time.

mod error;
mod geometry;
mod key;
mod kv;
mod level;

pub use error::{Error, ErrorKind, Result};
pub use geometry::{Dtype, Geometry, Side};
pub use key::SegmentKey;
pub use kv::KvChunk;
pub use level::Level;
