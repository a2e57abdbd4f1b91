//! `kvdepot ls`.

use std::fmt;

use clap::Args;
use kvdepot_client::{Client, ContextSummary, Result};
use serde::Serialize;

use super::text;

#[derive(Args)]
pub(super) struct LsArgs {}

#[derive(Serialize)]
pub(super) struct Listing {
    contexts: Vec<ContextJson>,
    #[serde(skip)]
    rows: Vec<[String; 8]>,
}

/// A context as JSON; `show` prints the same.
#[derive(Serialize)]
pub(super) struct ContextJson {
    id: String,
    model: String,
    namespace: String,
    tokens: usize,
    chunks: usize,
    level: &'static str,
    stored_bytes: u64,
    raw_kv_bytes: u64,
    ratio: f64,
    created_unix_ms: u64,
    last_used_unix_ms: u64,
}

impl LsArgs {
    pub(super) async fn run(&self, client: &Client) -> Result<Listing> {
        let mut pages = client.contexts();
        let mut listing = Listing { contexts: Vec::new(), rows: Vec::new() };
        while let Some(page) = pages.next().await? {
            listing.contexts.extend(page.iter().map(ContextJson::from));
            listing.rows.extend(page.iter().map(row));
        }
        Ok(listing)
    }
}

fn row(context: &ContextSummary) -> [String; 8] {
    [
        text::short_id(&context.id),
        context.model.clone(),
        context.namespace.clone(),
        context.num_tokens.to_string(),
        context.level.to_string(),
        text::bytes(context.stored_bytes),
        format!("{:.2}x", text::ratio(context.raw_kv_bytes, context.stored_bytes)),
        text::age(context.created),
    ]
}

impl From<&ContextSummary> for ContextJson {
    fn from(context: &ContextSummary) -> Self {
        Self {
            id: context.id.to_string(),
            model: context.model.clone(),
            namespace: context.namespace.clone(),
            tokens: context.num_tokens,
            chunks: context.num_chunks,
            level: context.level.name(),
            stored_bytes: context.stored_bytes,
            raw_kv_bytes: context.raw_kv_bytes,
            ratio: text::ratio(context.raw_kv_bytes, context.stored_bytes),
            created_unix_ms: text::unix_ms(context.created),
            last_used_unix_ms: text::unix_ms(context.last_used),
        }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str("no contexts");
        }
        let columns = ["ID", "MODEL", "NAMESPACE", ">TOKENS", "LEVEL", ">STORED", ">RATIO", ">AGE"];
        text::table(&columns, self.rows.iter().cloned()).fmt(f)
    }
}
