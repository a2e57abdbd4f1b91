//! What a depot and a receiver on the same host pass each other over a Unix socket: `STREAM.md`, "The local plane".
//!
//! - [`SealedMemory`]: bytes that nobody can change any more, made by one process and read by another.
//! - [`FrameReader`], [`FrameWriter`]: frames with the descriptors of such memory beside them.
//! - [`Announced`]: where a depot listens for receivers on its host, and whether this process is one.

mod announced;
mod memory;
mod socket;

pub use announced::{Announced, host_id};
pub use memory::SealedMemory;
pub use socket::{FrameReader, FrameWriter, MAX_DESCRIPTORS, connect, halves, is_trusted};
