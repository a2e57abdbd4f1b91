//! Paged KV cache: pages of [`PAGE_TOKENS`](crate::PAGE_TOKENS) tokens, counted by who refers to them.
//!
//! Owns where the keys and values of a token lie, the pool's bytes and the way in and out as [`KvChunk`]s. A page that
//! is full never changes, so any number of sequences may hold it; a page that is not full belongs to one sequence.
//! What a sequence may ever need is allocated when it is admitted: nothing runs out of memory half way.
//!
//! [`KvChunk`]: kvdepot_codec::KvChunk

mod exchange;
mod layout;
mod pool;
mod sequence;
#[cfg(test)]
mod tests;

pub(crate) use exchange::check_held;
pub(crate) use layout::KvLayout;
pub use pool::KvPool;
pub(crate) use pool::Page;
pub(crate) use sequence::Sequence;
