//! `kvdepot codec encode`.

use std::{
    fmt,
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use kvdepot_client::{Result, files};
use kvdepot_codec::{
    Level, Segment,
    container::{Description, Writer},
    dump::KvDump,
};
use rayon::prelude::*;
use serde::Serialize;

use super::{bits_per_value, chunk_tokens, in_file};
use crate::cli::{chunks::ChunkEncoder, progress, text};

#[derive(Args)]
pub(in crate::cli) struct EncodeArgs {
    /// Level to encode at
    #[arg(long)]
    level: Level,
    /// Tokens per chunk
    #[arg(long, default_value = "256", value_name = "N", value_parser = chunk_tokens)]
    chunk_tokens: usize,
    /// KV dump
    #[arg(value_name = "IN.safetensors")]
    dump: PathBuf,
    /// File to write
    #[arg(value_name = "OUT.kvd")]
    out: PathBuf,
}

#[derive(Serialize)]
pub(in crate::cli) struct Encoded {
    out: PathBuf,
    level: &'static str,
    tokens: usize,
    chunks: usize,
    raw_kv_bytes: u64,
    encoded_bytes: u64,
    ratio: f64,
    bits_per_value: f64,
    elapsed_ms: u64,
}

impl EncodeArgs {
    pub(super) fn run(&self) -> Result<Encoded> {
        let bytes = files::read(&self.dump)?;
        let dump = in_file(&self.dump, KvDump::parse(&bytes))?;
        let started = Instant::now();
        let rope = || in_file(&self.dump, dump.origin().rope());
        let encoder = ChunkEncoder::new(&dump, self.level, self.chunk_tokens, rope)?;
        let encoded_bytes = write(&encoder, &self.out)?;
        let (geometry, tokens) = (dump.geometry(), dump.num_tokens());
        let raw_kv_bytes = geometry.kv_bytes(tokens) as u64;
        Ok(Encoded {
            out: self.out.clone(),
            level: self.level.name(),
            tokens,
            chunks: encoder.num_chunks(),
            raw_kv_bytes,
            encoded_bytes,
            ratio: text::ratio(raw_kv_bytes, encoded_bytes),
            bits_per_value: bits_per_value(encoded_bytes, raw_kv_bytes / geometry.dtype().bytes() as u64),
            elapsed_ms: text::millis(started.elapsed()),
        })
    }
}

/// Encodes batch by batch, each on all cores: no more than one batch is held beside the dump.
fn write(encoder: &ChunkEncoder<'_>, out: &Path) -> Result<u64> {
    let dump = encoder.dump();
    let description = Description {
        geometry: *dump.geometry(),
        num_tokens: dump.num_tokens(),
        chunk_tokens: encoder.chunk_tokens(),
        origin: dump.origin().clone(),
    };
    let segments_per_chunk = encoder.segments_per_chunk();
    let bar = progress::chunks("encode", encoder.num_chunks());
    let written = files::write_whole(out, |path| {
        let open = || Writer::new(BufWriter::new(File::create(path)?), description, segments_per_chunk);
        let mut writer = open().map_err(files::unwritable(out))?;
        let chunks: Vec<usize> = (0..encoder.num_chunks()).collect();
        for batch in chunks.chunks(2 * rayon::current_num_threads()) {
            let encoded: Result<Vec<Vec<Segment>>> = batch.par_iter().map(|idx| encoder.encode(*idx)).collect();
            encoded?.iter().try_for_each(|segments| writer.push(segments)).map_err(files::unwritable(out))?;
            bar.inc(batch.len() as u64);
        }
        writer.finish().map(drop).map_err(files::unwritable(out))
    });
    bar.finish_and_clear();
    written
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, tokens, chunks, ratio, bits_per_value, .. } = self;
        let (raw, encoded) = (text::bytes(self.raw_kv_bytes), text::bytes(self.encoded_bytes));
        writeln!(f, "{tokens} tokens in {chunks} chunks at {level}: {raw} became {encoded}")?;
        write!(f, "{ratio:.3}x smaller, {bits_per_value:.3} bits per value, {} ms", self.elapsed_ms)
    }
}
