//! Streaming without sockets or clock: in which order segments are sent, what a receiver still wants, and how it decides
//! between loading and computing. The contract is `STREAM.md`.

mod arrivals;
mod batch_reader;
mod controller;
mod fetching;
mod held;
mod load;
mod order;
mod receiver;
mod sender;
mod share;
mod wants;

pub use arrivals::Arrivals;
pub use batch_reader::{BatchEvent, BatchReader};
pub use controller::{Decision, EngineCosts, EngineStep, Goal, Reason, State, decide};
pub use fetching::{Begun, Fetching};
pub use held::Held;
pub use load::ChunkLoad;
pub use order::{Batch, SegmentRef, SendOrder, batches, by_chunk};
pub use receiver::FetchReceiver;
pub use sender::{BatchId, FetchSender, SendWindow};
pub use share::Share;
pub use wants::Wants;
