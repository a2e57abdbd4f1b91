//! What the codec is held against: other codecs of KV, really encoding and decoding.
//!
//! Each [`Baseline`] turns a chunk into bytes and back, so that size, error and speed are measured and not estimated.
//! What a method keeps outside of the bytes (a calibrated basis, a table that ships with the program) is not counted,
//! and each says what that is. Where a detail of a method is not ours to know, it is decided in the method's favour.
//!
//! [`synth`] makes KV of other shapes to try codecs on; [`relative_error`] says how far decoded KV is off.
//!
//! They are yardsticks, not formats: no version, no checksum. Bytes that are not theirs give an error or other
//! elements, never a panic.
//!
//! # Examples
//! ```
//! use kvdepot_baselines::{Baseline, Int8};
//! use kvdepot_codec::{Dtype, Geometry, KvChunk};
//!
//! let chunk = KvChunk::zeroed(Geometry::new(2, 1, 64, Dtype::Bf16)?, 40)?;
//! let bytes = Int8.encode(&chunk, 0)?;
//! let mut decoded = KvChunk::zeroed(*chunk.geometry(), chunk.num_tokens())?;
//! Int8.decode(&bytes, &mut decoded)?;
//! assert_eq!(decoded, chunk);
//! # Ok::<(), kvdepot_codec::Error>(())
//! ```

mod cachegen;
mod elements;
mod error;
mod int8;
mod kvtc;
mod lmcache;
mod reader;
mod rope;
pub mod synth;
mod zstd_symbols;

use kvdepot_codec::KvChunk;

pub use error::relative_error;
pub use int8::Int8;
pub use kvdepot_codec::{Error, Result};
pub use kvtc::{Kvtc, KvtcCalibration, KvtcOptions};
pub use lmcache::LmCache;
pub use zstd_symbols::ZstdSymbols;

/// What a baseline encodes at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A chunk, whatever the place it has in its context.
    Chunk,
    /// A whole context: its first and last tokens are treated apart.
    Context,
}

/// Another codec of KV.
pub trait Baseline {
    /// The lower-case name, such as `zstd-9`.
    fn name(&self) -> String;

    /// What it encodes at a time.
    fn unit(&self) -> Unit {
        Unit::Chunk
    }

    /// Encodes a chunk whose first token is at `first_position`.
    ///
    /// # Errors
    /// `Invalid` when an element is not finite, or the geometry is not the one the baseline was made for.
    fn encode(&self, chunk: &KvChunk, first_position: u64) -> Result<Vec<u8>>;

    /// Decodes into a chunk of the shape that was encoded; every element is written.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are not an encoding of such a chunk, as far as that shows; the chunk is then undefined.
    fn decode(&self, bytes: &[u8], into: &mut KvChunk) -> Result<()>;
}

/// The baselines that need no calibration: LMCache's container, zstd on its symbols, plain 8-bit integers.
pub fn uncalibrated() -> Vec<Box<dyn Baseline>> {
    vec![
        Box::new(LmCache),
        Box::new(ZstdSymbols { compression: 1 }),
        Box::new(ZstdSymbols { compression: 9 }),
        Box::new(Int8),
    ]
}
