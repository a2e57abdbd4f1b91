//! What the fuzz targets do with an input. The tests of the codec replay the corpora through the same functions.
//!
//! A function here panics where a promise of the codec is broken, and returns on everything else.

mod files;
mod forge;
mod round_trip;
mod segments;

pub use files::{container, dump};
pub use round_trip::round_trip;
pub use segments::{decode_layers, decode_segment};
