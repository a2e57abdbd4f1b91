//! `kvdepot-engine bench`.

mod contexts;
mod curve;
mod decode;
mod fetch;
mod hindsight;
mod markdown;
mod measured;
mod model;
mod plot;
mod random;
mod report;
mod results;
mod shaper;
mod timed;
mod trace;
mod way;

use clap::Subcommand;

use super::report::Report;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Fetch contexts over a link in several ways, with an engine that takes the time of a given one.
    Fetch(fetch::FetchArgs),
    /// Make a page and a picture out of what `bench fetch --json` printed.
    Report(report::ReportArgs),
    /// Decode requests over a shared prefix, with and without sharing, and hold that against what the machine can do.
    Decode(decode::DecodeArgs),
    /// Write a model of a named shape with random weights, for engines to be compared on.
    Checkpoint(model::CheckpointArgs),
}

impl BenchCommand {
    pub(super) fn run(&self) -> anyhow::Result<Box<dyn Report>> {
        Ok(match self {
            Self::Fetch(args) => Box::new(args.run()?),
            Self::Report(args) => Box::new(args.run()?),
            Self::Decode(args) => Box::new(args.run()?),
            Self::Checkpoint(args) => Box::new(args.run()?),
        })
    }
}
