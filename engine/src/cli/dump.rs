//! `kvdepot-engine dump`.

use std::fmt;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use kvdepot_client::files;
use kvdepot_codec::{KvChunk, Origin, dump};
use kvdepot_engine::{Prefix, Runner};
use serde::Serialize;

use super::context::Context;
use super::engine::EngineArgs;
use super::report::Outcome;
use super::scope::ScopeArgs;

#[derive(Debug, clap::Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Text to prefill
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Prefill the first N tokens only
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Where to write the dump
    #[arg(value_name = "OUT.safetensors")]
    out: PathBuf,
}

/// What was written.
#[derive(Debug, Serialize)]
pub(super) struct Dumped {
    path: PathBuf,
    tokens: usize,
    raw_kv_bytes: u64,
}

impl DumpArgs {
    pub(super) fn run(&self) -> anyhow::Result<Dumped> {
        let engine = self.engine.load()?;
        let mut tokens = engine.tokens_of(&self.text)?;
        tokens.truncate(self.max_tokens.unwrap_or(usize::MAX).max(1));
        let spec = self.scope.scope(&engine, false)?.spec;
        let context = Context::obtain(&engine.runner, None, &tokens)?;
        let listed: Vec<_> = tokens.iter().map(u32::to_string).collect();
        let mut origin = Origin::new(&engine.runner.model().config().rope, 0);
        origin.metadata.extend([("tokens".to_owned(), listed.join(",")), ("kv_spec".to_owned(), spec.to_json())]);
        let chunks = export(&engine.runner, &context.prefix)?;
        let write = |path: &Path| dump::write(path, &chunks, &origin).map_err(files::unwritable(&self.out));
        files::write_whole(&self.out, write)?;
        let raw_kv_bytes = spec.geometry.kv_bytes(tokens.len()) as u64;
        Ok(Dumped { path: self.out.clone(), tokens: tokens.len(), raw_kv_bytes })
    }
}

fn export(runner: &Runner, prefix: &Prefix) -> anyhow::Result<Vec<KvChunk>> {
    let num_tokens = prefix.tokens().len();
    let starts = (0..num_tokens).step_by(KvChunk::MAX_TOKENS);
    starts.map(|start| Ok(runner.export(prefix, start..num_tokens.min(start + KvChunk::MAX_TOKENS))?)).collect()
}

impl Outcome for Dumped {}

impl fmt::Display for Dumped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of KV, {} tokens", self.path.display(), HumanBytes(self.raw_kv_bytes), self.tokens)
    }
}
