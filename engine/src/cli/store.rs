//! `kvdepot-engine store`.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use indicatif::HumanBytes;
use kvdepot_client::Transport;
use kvdepot_codec::Level;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::depot::DepotArgs;
use super::engine::{EngineArgs, millis};
use super::report::Outcome;
use super::scope::ScopeArgs;

#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Text of the context
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Level to store the KV cache at; lossy ones go to a scope that only callers with --lossy read
    #[arg(long, default_value_t = Level::Q0)]
    level: Level,
    #[command(flatten)]
    depot: DepotArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// What was stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) level: String,
    pub(super) context_tokens: usize,
    /// Leading tokens that the depot had already.
    pub(super) cached_tokens: usize,
    /// KV of the context in memory.
    pub(super) raw_kv_bytes: u64,
    /// The same in the depot.
    pub(super) stored_bytes: u64,
    /// Bytes that this put added.
    pub(super) new_bytes: u64,
    pub(super) transport: Transport,
    pub(super) context_ms: f64,
    pub(super) encode_ms: f64,
    pub(super) put_ms: f64,
}

impl StoreArgs {
    pub(super) fn run(&self) -> anyhow::Result<Stored> {
        let depot = self.depot.require()?;
        let engine = self.engine.load()?;
        let scope = self.scope.scope(&engine, !self.level.is_lossless())?;
        let tokens = engine.tokens_of(&self.text)?;
        // KV that came from a lossy level must not be stored again as if it were exact: only exact KV is built upon.
        let known = self.level.is_lossless().then_some((&depot, &scope));
        let context = Context::obtain(&engine.runner, known, &tokens)?;
        let started = Instant::now();
        let chunks = depot.encode(&engine.runner, &context.prefix, self.level)?;
        let encoded = Instant::now();
        let report = depot.put(&scope, &tokens, &chunks)?;
        Ok(Stored {
            level: self.level.name().to_owned(),
            context_tokens: tokens.len(),
            cached_tokens: context.cached_tokens,
            raw_kv_bytes: engine.runner.geometry().kv_bytes(tokens.len()) as u64,
            stored_bytes: chunks.iter().map(|chunk| chunk.content().stored_bytes()).sum(),
            new_bytes: report.new_bytes,
            transport: report.transport,
            context_ms: millis(context.elapsed),
            encode_ms: millis(encoded - started),
            put_ms: millis(encoded.elapsed()),
        })
    }
}

impl Outcome for Stored {}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (raw, stored) = (HumanBytes(self.raw_kv_bytes), HumanBytes(self.stored_bytes));
        let ratio = self.raw_kv_bytes as f64 / self.stored_bytes.max(1) as f64;
        writeln!(
            f,
            "{} tokens at {}: {raw} of KV became {stored}, {ratio:.2}x smaller",
            self.context_tokens, self.level
        )?;
        write!(
            f,
            "{} new; {:.0} ms to obtain the KV, {:.0} ms to encode, {:.0} ms to put",
            HumanBytes(self.new_bytes),
            self.context_ms,
            self.encode_ms,
            self.put_ms
        )
    }
}
