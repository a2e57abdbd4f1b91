//! Streaming without sockets or clock: in which order segments are sent, what a receiver still wants, and how it decides
//! between loading and computing. The contract is `STREAM.md`.

mod arrivals;
mod controller;
mod load;
mod order;
mod receiver;
mod sender;
mod wants;

pub use arrivals::Arrivals;
pub use controller::{Decision, EngineCosts, EngineStep, Goal, Reason, State, decide};
pub use load::ChunkLoad;
pub use order::{Batch, SegmentRef, SendOrder, batches};
pub use receiver::FetchReceiver;
pub use sender::{BatchId, FetchSender};
pub use wants::Wants;
