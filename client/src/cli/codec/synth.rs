//! `kvdepot codec synth`.

use std::{fmt, path::PathBuf};

use clap::Args;
use kvdepot_baselines::synth::synthesize;
use kvdepot_client::{Error, Result, files};
use kvdepot_codec::{Geometry, KvChunk, Origin, dump, dump::KvDump};
use serde::Serialize;

use super::in_file;
use crate::cli::text;

/// What the dump's metadata says, so that nobody takes it for real KV.
const METADATA: (&str, &str) = ("synthetic", "channels drawn from a real dump; not for measuring quality");

/// The shape defaults to that of Llama 3.1 8B. Each channel of the new dump is a run of consecutive tokens of a real
/// channel, from the layer at the same relative depth; keys have their rotation undone and that of their new place
/// applied. Means, spreads, tails and the order of tokens are real, what links channels and layers is not: it serves
/// checks of size and speed, and none of quality.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct SynthArgs {
    /// KV dump to draw channels from
    #[arg(long, value_name = "IN.safetensors")]
    like: PathBuf,
    /// Layers
    #[arg(long, default_value = "32", value_name = "N")]
    layers: u32,
    /// KV heads
    #[arg(long, default_value = "8", value_name = "N")]
    kv_heads: u32,
    /// Elements per head
    #[arg(long, default_value = "128", value_name = "N")]
    head_dim: u32,
    /// Tokens; no more than IN has
    #[arg(long, default_value = "256", value_name = "N")]
    tokens: usize,
    /// Seed of what is drawn
    #[arg(long, default_value = "1", value_name = "N")]
    seed: u64,
    /// KV dump to write
    #[arg(value_name = "OUT.safetensors")]
    out: PathBuf,
}

#[derive(Serialize)]
pub(in crate::cli) struct Synthesized {
    out: PathBuf,
    tokens: usize,
    raw_kv_bytes: u64,
}

impl SynthArgs {
    pub(super) fn run(&self) -> Result<Synthesized> {
        let bytes = files::read(&self.like)?;
        let like = in_file(&self.like, KvDump::parse(&bytes))?;
        let shape = Geometry::new(self.layers, self.kv_heads, self.head_dim, like.geometry().dtype())?;
        let chunks = synthesize(&like, shape, self.tokens, KvChunk::MAX_TOKENS, self.seed).map_err(Error::from)?;
        let (name, value) = METADATA;
        let mut origin = Origin::new(&like.origin().rope()?, like.first_position());
        origin.metadata.insert(name.to_owned(), value.to_owned());
        files::write_whole(&self.out, |path| {
            dump::write(path, &chunks, &origin).map_err(files::unwritable(&self.out))
        })?;
        Ok(Synthesized { out: self.out.clone(), tokens: self.tokens, raw_kv_bytes: shape.kv_bytes(self.tokens) as u64 })
    }
}

impl fmt::Display for Synthesized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out, tokens, .. } = self;
        write!(f, "{}: {} of synthetic KV, {tokens} tokens", out.display(), text::bytes(self.raw_kv_bytes))
    }
}
