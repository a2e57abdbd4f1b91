//! `kvdepot codec decode`.

use std::{fmt, path::PathBuf, time::Instant};

use clap::Args;
use kvdepot_client::{Result, files};
use kvdepot_codec::{KvChunk, container::Container, dump};
use rayon::prelude::*;
use serde::Serialize;

use super::in_file;
use crate::cli::{progress, text};

#[derive(Args)]
pub(in crate::cli) struct DecodeArgs {
    /// Encoded file
    #[arg(value_name = "IN.kvd")]
    encoded: PathBuf,
    /// KV dump to write
    #[arg(value_name = "OUT.safetensors")]
    out: PathBuf,
}

#[derive(Serialize)]
pub(in crate::cli) struct Decoded {
    out: PathBuf,
    tokens: usize,
    chunks: usize,
    encoded_bytes: u64,
    raw_kv_bytes: u64,
    elapsed_ms: u64,
}

impl DecodeArgs {
    pub(super) fn run(&self) -> Result<Decoded> {
        let bytes = files::read(&self.encoded)?;
        let started = Instant::now();
        let container = in_file(&self.encoded, Container::parse(&bytes))?;
        let description = container.description();
        let chunks = in_file(&self.encoded, decode_all(&container))?;
        let origin = &description.origin;
        files::write_whole(&self.out, |path| dump::write(path, &chunks, origin).map_err(files::unwritable(&self.out)))?;
        Ok(Decoded {
            out: self.out.clone(),
            tokens: description.num_tokens,
            chunks: chunks.len(),
            encoded_bytes: bytes.len() as u64,
            raw_kv_bytes: description.geometry.kv_bytes(description.num_tokens) as u64,
            elapsed_ms: text::millis(started.elapsed()),
        })
    }
}

fn decode_all(container: &Container<'_>) -> kvdepot_codec::Result<Vec<KvChunk>> {
    let num_chunks = container.description().num_chunks();
    let bar = progress::chunks("decode", num_chunks);
    let decode = |idx| container.chunk(idx).inspect(|_| bar.inc(1));
    let chunks = (0..num_chunks).into_par_iter().map(decode).collect();
    bar.finish_and_clear();
    chunks
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (encoded, raw) = (text::bytes(self.encoded_bytes), text::bytes(self.raw_kv_bytes));
        write!(f, "{} tokens: {encoded} became {raw} in {} ms", self.tokens, self.elapsed_ms)
    }
}
