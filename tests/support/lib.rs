//! What the workspace tests stand on: the real programs, and KV that looks like a model's.

mod cli;
mod control_tap;
mod depot;
mod kv;
mod model;
mod noise;
mod programs;
mod relay;
mod stored;

pub use cli::{Cli, Outcome};
pub use control_tap::ControlTap;
pub use depot::{DepotProcess, poll};
pub use kv::{KvSource, same_dump, spec_of};
pub use model::StoredModel;
pub use noise::Noise;
pub use programs::program;
pub use relay::{Path, Relay};
pub use stored::Stored;
