//! A depot, and where in it a model's KV is.

use std::sync::Arc;

use kvdepot_proto::Scope;

use super::depot::{Depot, DepotArgs};
use super::engine::Engine;
use super::scope::ScopeArgs;

/// Which depot to use, and what of it.
#[derive(Debug, clap::Args)]
pub(super) struct DepotScopeArgs {
    #[command(flatten)]
    depot: DepotArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Take KV of lossy levels from the depot
    #[arg(long)]
    lossy: bool,
}

impl DepotScopeArgs {
    /// Connects, if a depot is named; gives also the scope of the engine's model.
    pub(super) fn connect(&self, engine: &Engine) -> anyhow::Result<Option<(Arc<Depot>, Scope)>> {
        let Some(depot) = self.depot.connect()? else { return Ok(None) };
        Ok(Some((Arc::new(depot), self.scope.scope(engine, self.lossy)?)))
    }
}
