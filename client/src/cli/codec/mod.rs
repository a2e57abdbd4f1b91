//! `kvdepot codec`: files in, files out, no depot.

mod bench;
mod decode;
mod encode;
mod inspect;
mod synth;

use std::path::Path;

use clap::Subcommand;
use kvdepot_client::{Error, Result};
use kvdepot_codec::KvChunk;

use super::report::Report;

#[derive(Subcommand)]
pub(super) enum CodecCommand {
    /// Encode a KV dump into a .kvd file.
    Encode(encode::EncodeArgs),
    /// Decode a .kvd file into a KV dump.
    Decode(decode::DecodeArgs),
    /// Show the header of a .kvd file, and bytes and distortion by layer, side and quality layer.
    Inspect(inspect::InspectArgs),
    /// Measure size, error and speed of every level beside memcpy and other codecs, on one core.
    Bench(bench::BenchArgs),
    /// Make a synthetic KV dump of another shape from the channels of a real one, for checks of size and speed.
    Synth(synth::SynthArgs),
}

impl CodecCommand {
    pub(super) fn run(&self) -> Result<Box<dyn Report>> {
        Ok(match self {
            Self::Encode(args) => Box::new(args.run()?),
            Self::Decode(args) => Box::new(args.run()?),
            Self::Inspect(args) => Box::new(args.run()?),
            Self::Bench(args) => Box::new(args.run()?),
            Self::Synth(args) => Box::new(args.run()?),
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

/// Parses a number of tokens that a chunk may have.
fn chunk_tokens(text: &str) -> std::result::Result<usize, String> {
    let limit = KvChunk::MAX_TOKENS;
    let parsed = text.parse().ok().filter(|tokens| (1..=limit).contains(tokens));
    parsed.ok_or_else(|| format!("expected a number of tokens in 1..={limit}"))
}
