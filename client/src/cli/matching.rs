//! `kvdepot match`.

use std::{fmt, path::PathBuf};

use clap::Args;
use kvdepot_client::{Client, Result};
use serde::Serialize;

use super::{
    input::{self, NamespaceArgs},
    text,
};

#[derive(Args)]
pub(super) struct MatchArgs {
    /// Token ids
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Spec in JSON
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    #[command(flatten)]
    namespace: NamespaceArgs,
}

#[derive(Serialize)]
pub(super) struct Matched {
    outcome: &'static str,
    matched_tokens: usize,
    tokens: usize,
    chunks: Vec<String>,
    chunk_tokens: usize,
    stored_bytes: u64,
    miss_reason: Option<String>,
}

impl MatchArgs {
    pub(super) async fn run(&self, client: &Client) -> Result<Matched> {
        let tokens = input::read_tokens(&self.tokens)?;
        let scope = self.namespace.scope(input::read_spec(&self.spec)?);
        let found = client.matches(&scope, &tokens).await?;
        Ok(Matched {
            outcome: match found.matched_tokens {
                0 => "miss",
                matched if matched < tokens.len() => "partial hit",
                _ => "hit",
            },
            matched_tokens: found.matched_tokens,
            tokens: tokens.len(),
            chunks: found.chunks.iter().map(|chunk| chunk.id.to_string()).collect(),
            chunk_tokens: found.chunk_tokens,
            stored_bytes: found.chunks.iter().map(|chunk| chunk.content.stored_bytes()).sum(),
            miss_reason: found.miss_reason,
        })
    }
}

impl fmt::Display for Matched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcome, matched_tokens, tokens, chunks, .. } = self;
        let stored = text::bytes(self.stored_bytes);
        write!(f, "{outcome}: {matched_tokens} of {tokens} tokens, {} chunks, {stored}", chunks.len())?;
        self.miss_reason.as_ref().map_or(Ok(()), |reason| write!(f, "\n{reason}"))
    }
}
