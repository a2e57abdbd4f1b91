//! `kvdepot rm`.

use std::{
    fmt,
    io::{IsTerminal, Write},
};

use clap::Args;
use kvdepot_client::{Client, ContextSummary, Deleted, Error, Extent, IdPrefix, Result};
use serde::Serialize;

use super::text;

#[derive(Args)]
pub(super) struct RmArgs {
    /// Leading digits of chunk ids, at least 4 each
    #[arg(required = true, value_name = "ID")]
    ids: Vec<IdPrefix>,
    /// Remove every context that continues these chunks, too
    #[arg(long)]
    recursive: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Serialize)]
pub(super) struct Removed {
    ids: Vec<String>,
    #[serde(flatten)]
    deleted: Deleted,
}

impl RmArgs {
    pub(super) async fn run(&self, client: &Client, json: bool) -> Result<Removed> {
        let mut contexts = Vec::new();
        for id in &self.ids {
            contexts.push(client.inspect(id).await?.context);
        }
        if !self.yes {
            self.confirm(&contexts, json)?;
        }
        let ids: Vec<_> = contexts.iter().map(|context| context.id).collect();
        let extent = if self.recursive { Extent::Subtree } else { Extent::Context };
        let deleted = client.delete(&ids, extent).await?;
        Ok(Removed { ids: ids.iter().map(ToString::to_string).collect(), deleted })
    }

    /// Asks on the terminal. Where nobody can be asked, nothing is removed.
    fn confirm(&self, contexts: &[ContextSummary], json: bool) -> Result<()> {
        if json || !std::io::stdin().is_terminal() {
            return Err(Error::invalid(format!("removing {} contexts needs --yes here", contexts.len())));
        }
        for context in contexts {
            let (id, stored) = (text::short_id(&context.id), text::bytes(context.stored_bytes));
            eprintln!("{id}  {}  {} tokens  {stored}", context.model, context.num_tokens);
        }
        let continued = if self.recursive { " and everything that continues them" } else { "" };
        eprint!("remove these{continued}? [y/N] ");
        let mut answer = String::new();
        let asked = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut answer));
        match asked {
            Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
            _ => Err(Error::invalid("nothing removed")),
        }
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deleted { deleted_chunks, deleted_bytes } = self.deleted;
        write!(f, "removed {deleted_chunks} chunks, {}", text::bytes(deleted_bytes))
    }
}
