//! What the fuzz targets do with an input. A test of the protocol replays the corpora through the same functions.
//!
//! A function here panics where a promise of the protocol is broken, and returns on everything else.

mod content;
mod decoders;
mod receiver;
mod sender;

pub use decoders::{frames, segments};
pub use receiver::receiver;
pub use sender::sender;
