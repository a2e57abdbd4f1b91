//! The depot daemon: store, control plane and data plane.
//!
//! - [`Settings`]: what can be set, and where it comes from.
//! - [`Daemon`]: a running depot; [`Daemon::start`] opens it and serves it, [`Daemon::shutdown`] drains and closes it.
//!
//! Inside, from the bottom up: `store` keeps rows in RocksDB, `index` knows the tree of chunks and who goes first
//! (pure, in memory), `depot` is both together with every operation, `grpc`, `quic` and `local` serve it.

mod blocking;
mod clock;
mod daemon;
mod depot;
mod endpoints;
mod grpc;
mod index;
mod intake;
mod limits;
mod local;
pub mod logging;
mod quic;
pub mod settings;
mod store;
#[cfg(test)]
mod testing;
mod tls;
mod verify;
mod wire;

pub use daemon::Daemon;
pub use settings::Settings;
