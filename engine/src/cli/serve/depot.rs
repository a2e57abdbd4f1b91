//! The depot, as a server sees it: what it has of a context is brought before the request begins.

use std::sync::Arc;

use kvdepot_client::{Client, FetchRequest, Result};
use kvdepot_engine::plan::MIN_LOAD_TOKENS;
use kvdepot_proto::Scope;
use tokio::sync::Mutex;

use super::worker::Worker;

/// Brings KV from a depot to the engine.
pub(super) struct Loader {
    client: Client,
    scope: Scope,
    /// One at a time: requests that come together mostly want the same.
    turn: Arc<Mutex<()>>,
}

impl Loader {
    pub(super) fn new(client: Client, scope: Scope) -> Self {
        Self { client, scope, turn: Arc::default() }
    }

    /// Brings what the depot has of a context beyond what the engine has; gives how many leading tokens it has. A depot that does
    /// not answer is done without.
    pub(super) async fn load(&self, worker: &Worker, context: &[u32]) -> usize {
        let _turn = self.turn.lock().await;
        match self.try_load(worker, context).await {
            Ok(stored_tokens) => stored_tokens,
            Err(error) => {
                tracing::warn!(%error, "KV of the depot is computed instead");
                0
            }
        }
    }

    async fn try_load(&self, worker: &Worker, context: &[u32]) -> Result<usize> {
        let stored = self.client.matches(&self.scope, context).await?.matched_tokens;
        if stored < worker.cached_tokens(context.to_vec()).await + MIN_LOAD_TOKENS {
            return Ok(stored);
        }
        let request = FetchRequest::tokens(self.scope.clone(), context[..stored].to_vec());
        let fetched = self.client.fetch_kv(&request, |_| {}).await?;
        let tokens = context[..fetched.manifest.end_token()].to_vec();
        worker.keep(tokens, fetched.chunks).await?;
        Ok(stored)
    }
}
