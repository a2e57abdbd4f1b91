//! Attached inference engine: prefix-shared batched decoding over a depot.
//!
//! Computes models of the Llama family from Hugging Face directories on CPUs, in f32 or bf16. It knows tokens, pages
//! and attention; it knows nothing of the network: KV that was computed elsewhere is handed to it as
//! [`KvChunk`](kvdepot_codec::KvChunk)s.
//!
//! - [`Model`]: a directory's weights, loaded and packed; [`ModelConfig`]: its shape.
//! - [`Runner`]: prefill into a [`Prefix`], export and import of its KV, groups of [`Request`]s decoded over it, the
//!   [`Logits`] of a given continuation, and whole batches; a prefix whose KV comes layer by layer ([`LayerFeed`]).
//! - [`plan`]: what the requests of a batch share, and the order in which they run.
//! - [`Machine`]: what the processor and the memory can do at best; [`AttentionWork`]: what attention took.
//! - [`Sampling`]: how tokens are chosen; [`TextCodec`]: text to tokens and back.
//!
//! **Batch invariance.** On one machine and in one [`Precision`], each result is a function of its own tokens alone, bit
//! for bit: not of the number of threads, of who else is in the batch, of how a prefill was cut, or of [`Sharing`].

mod attention;
mod config;
mod error;
mod kv;
mod linear;
mod machine;
mod meter;
mod model;
pub mod plan;
mod precision;
mod rows;
mod runner;
mod sample;
mod simd;
mod text;
mod weights;

pub use config::{Architecture, Biases, MaxContext, ModelConfig};
pub use error::{Error, ErrorKind, Result};
pub use kv::KvPool;
pub use machine::Machine;
pub use meter::AttentionWork;
pub use model::Model;
pub use precision::Precision;
pub use runner::{
    Arrival, BatchObserver, BatchReport, Completion, Computed, Ended, FinishReason, GroupReport, KvSource, LayerFeed,
    Load, LoadedChunk, Logits, NoSource, Online, Pace, Prefix, Progress, Request, Runner, Settings, Sharing,
};
pub use sample::{Choice, Sampling};
pub use simd::PAGE_TOKENS;
pub use text::TextCodec;
pub use weights::{Checkpoint, WeightsDigest};
