//! `kvdepot codec`: files in, files out, no depot.

mod decode;
mod encode;
mod inspect;

use std::path::Path;

use clap::Subcommand;
use kvdepot_client::{Error, Result};

use super::report::Report;

#[derive(Subcommand)]
pub(super) enum CodecCommand {
    /// Encode a KV dump into a .kvd file.
    Encode(encode::EncodeArgs),
    /// Decode a .kvd file into a KV dump.
    Decode(decode::DecodeArgs),
    /// Show the header of a .kvd file, and bytes and distortion by layer, side and quality layer.
    Inspect(inspect::InspectArgs),
}

impl CodecCommand {
    pub(super) fn run(&self) -> Result<Box<dyn Report>> {
        Ok(match self {
            Self::Encode(args) => Box::new(args.run()?),
            Self::Decode(args) => Box::new(args.run()?),
            Self::Inspect(args) => Box::new(args.run()?),
        })
    }
}

/// Says in which file an error of the codec lies.
fn in_file<T>(path: &Path, outcome: kvdepot_codec::Result<T>) -> Result<T> {
    outcome.map_err(|error| Error::from(error).context(path.display()))
}

/// Bits that each value of the KV takes.
fn bits_per_value(encoded_bytes: u64, num_values: u64) -> f64 {
    8.0 * encoded_bytes as f64 / num_values.max(1) as f64
}
