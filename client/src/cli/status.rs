//! `kvdepot status`.

use std::fmt;

use clap::Args;
use indicatif::{HumanCount, HumanDuration};
use kvdepot_client::{Client, Result, Usage};
use serde::Serialize;

use super::{connection::ConnectionArgs, text};

#[derive(Args)]
pub(super) struct StatusArgs {}

#[derive(Serialize)]
pub(super) struct Status {
    url: String,
    hit_rate: Option<f64>,
    #[serde(flatten)]
    usage: Usage,
}

impl StatusArgs {
    pub(super) async fn run(&self, client: &Client, connection: &ConnectionArgs) -> Result<Status> {
        let usage = client.usage().await?;
        Ok(Status { url: connection.url()?, hit_rate: usage.hit_rate(), usage })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, hit_rate, usage } = self;
        writeln!(f, "depot        {url}")?;
        writeln!(f, "data plane   {} (QUIC)", usage.quic_address)?;
        writeln!(f, "daemon       kvdepotd {}, up {}", usage.version, HumanDuration(usage.uptime))?;
        writeln!(f, "stored       {}", stored(usage))?;
        let (contexts, chunks) = (HumanCount(usage.contexts), HumanCount(usage.chunks));
        writeln!(f, "contexts     {contexts} in {chunks} chunks of {} tokens", usage.chunk_tokens)?;
        let hit_rate =
            hit_rate.map_or_else(String::new, |rate| format!(", {:.1} % of their tokens found", 100.0 * rate));
        writeln!(f, "matches      {}{hit_rate}", HumanCount(usage.matches))?;
        write!(f, "dropped      {} evicted, {} corrupt", usage.evicted_chunks, usage.quarantined_chunks)
    }
}

fn stored(usage: &Usage) -> String {
    let stored = text::bytes(usage.stored_bytes);
    match usage.quota_bytes {
        Some(quota) => {
            let share = usage.stored_bytes as f64 / quota as f64;
            format!("{} {:.1} %, {stored} of {}", text::bar(share), 100.0 * share, text::bytes(quota))
        }
        None => format!("{stored}, no quota"),
    }
}
