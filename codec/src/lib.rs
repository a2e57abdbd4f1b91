//! KV tensors to and from segments.
//!
//! A context's KV cache is cut into chunks; a [`KvChunk`] encodes into segments, one per quality layer, layer group
//! and side (K or V), each decodable alone. The layout of every byte is in `FORMAT.md`.
//!
//! This crate is the leaf of the workspace and holds the nouns that all others share. It knows shapes, bits and
//! levels; it knows nothing of models by name, of the network, of time.
//!
//! Stages, from the outside in: [`dump`] and [`container`] are files of whole contexts; `segment` frames and checks;
//! `levels` make symbols of elements; `tile` codes the symbols under the distributions of `model`.

pub mod bounds;
pub mod container;
pub mod dump;

mod cursor;
mod distortion;
mod element;
mod error;
mod geometry;
mod key;
mod kv;
mod level;
mod levels;
mod model;
mod origin;
mod plane;
mod rope;
mod rows;
mod segment;
mod simd;
mod tile;

pub use distortion::Distortion;
pub use error::{Error, ErrorKind, Result};
pub use geometry::{Dtype, Geometry, Side};
pub use key::SegmentKey;
pub use kv::KvChunk;
pub use level::Level;
pub use origin::Origin;
pub use rope::{Rope, RopeScaling};
pub use segment::{
    Codec, EncodeOptions, Segment, SegmentHeader, decode, decode_layers, decode_segment, encode, encode_group,
    encode_segment, error_bound, metadata_bytes, verify,
};
pub use simd::Isa;
