//! What the workspace tests stand on: the real programs, and KV that looks like a model's.

mod cli;
mod depot;
mod kv;
mod noise;
mod programs;
mod relay;

pub use cli::{Cli, Outcome};
pub use depot::{DepotProcess, poll};
pub use kv::{KvSource, same_dump, spec_of};
pub use noise::Noise;
pub use programs::program;
pub use relay::{Path, Relay};
