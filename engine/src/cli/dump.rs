//! `kvdepot-engine dump`

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use kvdepot_codec::{KvChunk, Origin};
use kvdepot_engine::{Error, Prefix, Runner};

use super::model::{ModelArgs, read_text};
use super::{progress, spec};

/// Tokens copied out at a time.
const CHUNK_TOKENS: usize = 256;

#[derive(Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// File with the text; it is tokenized as the beginning of a text.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Keep the first N tokens only.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// File to write: safetensors, with `k.{layer}` and `v.{layer}` of `[tokens, kv_heads, head_dim]`.
    #[arg(value_name = "OUT.safetensors")]
    out: PathBuf,
}

impl DumpArgs {
    pub(super) fn run(self) -> Result<()> {
        let runner = self.model.runner()?;
        let text_codec = self.model.text_codec(&runner)?;
        let mut tokens = text_codec.encode(&read_text(&self.text)?)?;
        tokens.truncate(self.max_tokens.unwrap_or(usize::MAX));
        if tokens.is_empty() {
            return Err(Error::Invalid(format!("{} gives no tokens", self.text.display())).into());
        }
        let mut prefix = Prefix::default();
        progress::prefill(&runner, &mut prefix, &tokens)?;
        let chunks = chunks(&runner, &prefix)?;
        let spec = spec::of(runner.model(), Some(&text_codec), self.model.name())?;
        let ids: Vec<String> = tokens.iter().map(u32::to_string).collect();
        let origin = Origin {
            rope_theta: spec.rope.theta,
            first_position: 0,
            metadata: BTreeMap::from([("tokens".into(), ids.join(",")), ("kv_spec".into(), spec.to_json())]),
        };
        kvdepot_codec::dump::write(&self.out, &chunks, &origin)
            .with_context(|| format!("cannot write {}", self.out.display()))?;
        eprintln!("wrote {} tokens to {}", tokens.len(), self.out.display());
        Ok(())
    }
}

fn chunks(runner: &Runner, prefix: &Prefix) -> Result<Vec<KvChunk>> {
    let num_tokens = prefix.tokens().len();
    let starts = (0..num_tokens).step_by(CHUNK_TOKENS);
    Ok(starts
        .map(|start| runner.export(prefix, start..num_tokens.min(start + CHUNK_TOKENS)))
        .collect::<kvdepot_engine::Result<_>>()?)
}
