//! Bounds on what a message may carry, checked before anything is allocated for it.

use std::time::Duration;

use kvdepot_codec::{Geometry, Level};

/// Most tokens of a context.
pub const MAX_CONTEXT_TOKENS: usize = 1 << 20;
/// Most chunks of a context.
pub const MAX_CONTEXT_CHUNKS: usize = 1 << 15;
/// Most segments of a chunk: two sides of [`MAX_LAYERS`](Geometry::MAX_LAYERS) layers, in up to four quality layers.
pub const MAX_CHUNK_SEGMENTS: usize = 8192;
const _: () = assert!(2 * Geometry::MAX_LAYERS as usize * Level::MAX_QUALITIES as usize <= MAX_CHUNK_SEGMENTS);
/// Longest name of a model, adapter or namespace, in bytes.
pub const MAX_NAME_BYTES: usize = 512;
/// Longest salt, in bytes.
pub const MAX_SALT_BYTES: usize = 64;
/// Most parameters of a RoPE kind.
pub const MAX_ROPE_PARAMETERS: usize = 32;
/// Largest segment that either side accepts.
pub const MAX_SEGMENT_BYTES: u64 = 256 << 20;
/// Largest chunk in memory, decoded.
pub const MAX_CHUNK_KV_BYTES: u64 = 16 << 30;
/// Largest body of a frame or of a gRPC message. A segment's bytes are outside of frames and are cut into pieces in gRPC.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Largest body of a frame that carries a few numbers.
pub const MAX_NUMBERS_BYTES: usize = 64;
/// Largest body of a frame that names segments in memory beside it, or who may have them.
pub const MAX_LOAN_BYTES: usize = 4096;
/// Most batches of a fetch that are read or under way.
pub const MAX_FETCH_BATCHES: usize = 32;
/// No batch of a fetch is begun while those under way have so many bytes: enough to fill a long path.
pub const FETCH_AHEAD_BYTES: u64 = 32 << 20;
/// Most `Adjust` frames of a fetch.
pub const MAX_ADJUSTS: usize = 1 << 16;
/// Piece of a segment in a gRPC message.
pub const PIECE_BYTES: usize = 256 << 10;
/// Longest time for which a caller may have a context kept from eviction.
pub const MAX_LEASE: Duration = Duration::from_secs(600);
/// Most such leases that a depot gives at a time.
pub const MAX_LEASES: usize = 4096;
